"""What can go wrong in the collector, by who is at fault.

Expected outcomes (a duplicate, a batch that waits, a forged message) are values, not errors.
"""

from __future__ import annotations


class CollectorError(Exception):
    """The collector cannot do what it was asked; the message is a sentence for a person."""


class SettingsError(CollectorError):
    """A setting, a key file or an argument is wrong; trying again cannot help."""


class StoreError(CollectorError):
    """The disk or the database did not take a commit; nothing of it was acknowledged.

    Trying again helps once there is room again or the file system is writable again.
    """


class BusyError(CollectorError):
    """Something else uses the data directory or the port; stop it, or choose another."""


class NotOnTrialError(CollectorError):
    """A person asked for a real warning of an alarm that is not held back for trial; asking again cannot help."""


class LetterError(CollectorError):
    """A letter cannot be attached or handed out; the message says what the file is and what was expected."""

    def __init__(self, message: str, why: str = "") -> None:
        """Takes the sentence, and the word by which a page says it in its language; empty where there is none."""
        super().__init__(message)
        self.why = why
