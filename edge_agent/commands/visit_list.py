"""``edge-agent visit --list``: what is to be visited on this gateway, street by street."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from edge_agent.commands.output import age, as_json, table
from edge_agent.commands.place import state_dir
from edge_agent.commands.upkeep_words import say
from edge_agent.commands.words import Words
from edge_agent.control import ask
from edge_agent.errors import ConfigError
from edge_agent.state_dir import CONTROL
from edge_agent.tools.visit_rows import VisitRow, visit_rows


def run(options: argparse.Namespace, words: Words) -> int:
    """Lists what the running agent knows; status 0 also where there is nothing to do.

    ``options``: ``json``, ``street`` (only this one), ``all`` (also every watched point and its days).
    """
    socket = state_dir(options) / CONTROL
    upkeep = ask(socket, "upkeep")
    status = ask(socket, "status")
    rows = visit_rows(upkeep, ask(socket, "latest")["readings"], ask(socket, "alarms")["alarms"], status["subjects"])
    watched = [(item["street"], item["point"], job) for item in upkeep["points"] for job in item["jobs"]]
    if options.street is not None:
        streets = sorted({item["street"] for item in upkeep["points"] if item["street"]})
        if options.street not in streets:
            known = ", ".join(streets) or say(words, "no street")
            raise ConfigError([say(words, "other street", street=options.street, known=known)])
        rows = [row for row in rows if row.street == options.street]
        watched = [item for item in watched if item[0] == options.street]
    if options.json:
        print(as_json(_as_json(upkeep["today"], rows, watched if options.all else None)))
        return 0
    for line in _lines(rows, options.street, words):
        print(line)
    if options.all:
        print()
        for line in _watched(watched, words):
            print(line)
    if not upkeep["today"] and watched:
        print(say(words, "no day"))
    return 0


def _lines(rows: Sequence[VisitRow], street: str | None, words: Words) -> Iterable[str]:
    if not rows:
        yield say(words, "street alone", street=street) if street else say(words, "nothing to do")
        return
    place = 0 if words.language == "en" else 1
    for number, (name, members) in enumerate(groupby(rows, key=lambda row: row.street)):
        if number:
            yield ""
        yield f"== {name or say(words, 'no street')} =="
        for row in members:
            due = f", {say(words, 'due')} {row.due}" if row.due else ""
            since = "" if row.lost_s is None else f", {say(words, 'for', age=age(row.lost_s))}"
            title = row.zh if place else row.en
            yield f"{row.point or row.device}  {title}: {row.errand.what[place]}{due}{since}"
            yield f"    {say(words, 'cause')}: {row.errand.cause[place]}"
            if row.errand.bring:
                stop = "、" if place else "; "
                yield f"    {say(words, 'bring')}: {stop.join(item[place] for item in row.errand.bring)}"


def _watched(watched: Sequence[tuple[str, str, Mapping[str, Any]]], words: Words) -> Iterable[str]:
    if not watched:
        return [say(words, "none watched")]
    heads = [words["point"], say(words, "job"), say(words, "last"), say(words, "due"), words["state"]]
    return table(
        heads,
        (
            [point, say(words, job["job"]), job["last"] or "-", job["due"] or "-", say(words, f"state {job['state']}")]
            for _, point, job in watched
        ),
    )


def _as_json(
    today: str, rows: Iterable[VisitRow], watched: Iterable[tuple[str, str, Mapping[str, Any]]] | None
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "today": today or None,
        "visits": [
            {
                "street": row.street,
                "device": row.device,
                "point": row.point,
                "en": row.en,
                "zh": row.zh,
                "finding": row.errand.finding.value,
                "due": row.due or None,
                "lost_s": row.lost_s,
                "what": _both(row.errand.what),
                "cause": _both(row.errand.cause),
                "bring": [_both(item) for item in row.errand.bring],
            }
            for row in rows
        ],
    }
    if watched is not None:
        found["watched"] = [{"street": street, "point": point, **job} for street, point, job in watched]
    return found


def _both(item: tuple[str, str]) -> dict[str, str]:
    return {"en": item[0], "zh": item[1]}
