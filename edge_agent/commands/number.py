"""``edge-agent number``: gives addresses to a handful of equal new units, one after the other.

It asks for one unit at a time, finds it at its factory address, writes the maker's sequence of its profile, and
believes nothing that the line does not answer: at the new address, and again after the supply was off.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from contracts import quality
from drivers.build import identity_reads, plan_device
from drivers.errors import ProfileError
from drivers.loader import load_profile, system_dirs
from drivers.matching import recognition_reads
from drivers.numbering import NumberStep, numbering_steps
from drivers.port import BusPort
from drivers.profile import Profile
from edge_agent.commands.place import config_path, state_dir
from edge_agent.commands.words import Words
from edge_agent.commands.writing_words import say
from edge_agent.errors import ConfigError, ToolError
from edge_agent.journal import keep_journal
from edge_agent.tools.number_units import Numbered, Numbering, Outcome, Question
from edge_agent.tools.where import named
from edge_agent.tools.writing import check_allowed, writing_port

#: what a person types to end
_END = ("q", "quit", "结束")
#: what a person types to leave the power cycle out
_SKIP = ("s", "skip", "跳过")

Ask = Callable[[str], str]


def run(options: argparse.Namespace, words: Words) -> int:
    """Numbers units until the person ends it; status 1 where the last one was not numbered."""
    profile = _profile(options)
    if options.baud is None:
        options.baud = profile.serial.baud
        options.parity, options.stop_bits = options.parity or profile.serial.parity, profile.serial.stop_bits
    old = options.factory or profile.serial.unit_id
    if old is None:
        raise ToolError(f"profile {profile.id} does not know the factory address; give it with --factory N")
    last = options.first + options.count - 1
    try:
        for new in range(options.first, last + 1):
            numbering_steps(profile, old, new)
    except ProfileError as error:
        raise ConfigError(list(map(str, error.problems))) from error
    if not sys.stdin.isatty() and not options.ask_anyway:
        raise ToolError(say(words, "nobody to ask"))
    found = named(options)
    check_allowed(options, found, [old, *range(options.first, last + 1)])
    port = writing_port(found, options.by)
    session = Session(options, words, profile, port, input, through_agent=found.lent is not None)
    return asyncio.run(session.run(old, _in_order(old, range(options.first, last + 1))))


def _in_order(old: int, numbers: range) -> list[int]:
    """The factory address comes last: a unit that has it would get the next one's number too."""
    return [new for new in numbers if new != old] + [new for new in numbers if new == old]


def _profile(options: argparse.Namespace) -> Profile:
    folders: list[Path] = [*system_dirs()]
    path = config_path(options)
    if path.exists():
        from edge_agent.config import read_site

        folders += [path.absolute().parent / name for name in read_site(path).profile_dirs]
    try:
        return load_profile(options.profile, folders)
    except ProfileError as error:
        raise ConfigError(list(map(str, error.problems))) from error


def question_of(profile: Profile) -> Question:
    """Returns a harmless read that a unit of this profile answers: what recognises it, else its first block."""
    reads = (*recognition_reads(profile), *identity_reads(profile))
    if reads:
        return Question(table=reads[0].table, address=reads[0].address, count=reads[0].count)
    block = plan_device(profile)[0]
    return Question(table=block.table, address=block.address, count=block.count)


class Session:
    """One person, one line, and units one after the other."""

    def __init__(
        self,
        options: argparse.Namespace,
        words: Words,
        profile: Profile,
        port: BusPort,
        ask: Ask,
        *,
        through_agent: bool = False,
    ) -> None:
        """``ask`` shows a text and returns what the person typed; ``through_agent``: the port is borrowed."""
        self._options = options
        self._words = words
        self._profile = profile
        self._port = port
        self._ask = ask
        self._through_agent = through_agent
        self._numbering = Numbering(port, question_of(profile), max_reply_s=float(profile.limits.max_reply_s))

    async def run(self, old: int, numbers: Sequence[int]) -> int:
        """Returns the exit status."""
        words = self._words
        await self._port.open()
        try:
            for new in numbers:
                if old != new and await self._numbering.answers(new):
                    print(say(words, "address taken", new=new))
                    return 1
                if not await self._connected(old, new):
                    return 0
                if not await self._number(old, new):
                    return 1
            print(say(words, "all numbered"))
            return 0
        finally:
            await self._port.close()

    async def _connected(self, old: int, new: int) -> bool:
        """Returns when one unit answers at the factory address; false where the person ends it."""
        words = self._words
        while True:
            if await self._type(say(words, "connect one unit", new=new)) in _END:
                return False
            heard = await self._numbering.heard(old)
            if heard is not None and heard != quality.BAD_FRAME:
                print(say(words, "found at", old=old))
                return True
            print(say(words, "nobody at" if heard is None else "garbled at", old=old))

    async def _number(self, old: int, new: int) -> bool:
        words = self._words
        steps: tuple[NumberStep, ...] = numbering_steps(self._profile, old, new)
        change = self._profile.address_change
        assert change is not None  # numbering_steps has asked for it
        self._journal(f"{self._profile.id} on {self._options.port}: {old} -> {new}, by {self._options.by}")
        got = await self._numbering.give(steps, old=old, new=new)
        if got.outcome is Outcome.DONE:
            print(say(words, "answers at", new=new))
        elif got.outcome is Outcome.GONE_WRONG or not change.needs_power_cycle:
            return self._failed(got, old, new)
        if await self._type(say(words, "power cycle", new=new)) in _SKIP:
            print(say(words, "power cycle left out", new=new))
        else:
            got = await self._numbering.look(old=old, new=new)
            if got.outcome is not Outcome.DONE:
                return self._failed(got, old, new)
            print(say(words, "answers after", new=new))
        if got.outcome is not Outcome.DONE:
            return self._failed(got, old, new)
        self._journal(f"{self._profile.id} on {self._options.port}: answers at {new}")
        print(say(words, "write label", new=new))
        return True

    def _failed(self, got: Numbered, old: int, new: int) -> bool:
        text = say(self._words, f"numbering {got.outcome.value}", old=old, new=new, detail=got.detail)
        print(text)
        self._journal(f"{self._profile.id} on {self._options.port}: {got.outcome.value} {got.detail}".rstrip())
        return False

    async def _type(self, text: str) -> str:
        try:
            return (await asyncio.to_thread(self._ask, text + " ")).strip().casefold()
        except EOFError:
            raise ToolError(say(self._words, "nobody to ask")) from None

    def _journal(self, text: str) -> None:
        keep_journal(state_dir(self._options), "numbered", text, through_agent=self._through_agent)
