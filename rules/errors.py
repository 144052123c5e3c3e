"""What can be wrong with a rule, a rule pack, or a sample handed to them.

The author of the rule or the pack is at fault in ``RuleError`` and ``PackError``, the calling
program in a plain ``RulesError``.  Lists read back from a plan or the spool that are not what
they should be raise ``contracts.errors.PayloadError``, as everything decoded does.  The same
input fails again every time.
"""

from __future__ import annotations

from collections.abc import Iterable


class RulesError(ValueError):
    """Something handed to the rules room is impossible."""


class RuleError(RulesError):
    """A rule contradicts itself or its bound; ``problems`` holds (field, what is wrong)."""

    def __init__(self, rule_id: str, problems: Iterable[tuple[str, str]]) -> None:
        self.rule_id = rule_id
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{rule_id}: {field}: {text}" for field, text in self.problems))


class PackError(RulesError):
    """A rule pack, or a site's change to one, is refused; ``problems`` holds every reason at once."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))
