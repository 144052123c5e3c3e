"""A network of our own: a namespace with two cables to this machine, one of which can be made bad.

    gateway  ---- bad cable ----  broker's namespace  ---- good cable ----  collector
    (here)                                                                  (here)

Needs root, ``ip`` (iproute2) and ``nft`` (nftables).  The rules stand inside the namespace, so that
nothing of this machine's own network changes; with the namespace all of it is gone.
"""

from __future__ import annotations

import os
import re
import subprocess
from typing import NoReturn

import pytest

from tests.debian_tools import find_tool


def need_root() -> None:
    """Skips the running test without root, or fails it when ``CI=true``."""
    if os.geteuid() != 0:
        _impossible("network namespaces need root")


def _impossible(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; in CI nothing is skipped")
    pytest.skip(reason)


class Cables:
    """The namespace; ``close`` removes it."""

    def __init__(self) -> None:
        need_root()
        self._ip, self._nft = find_tool("ip"), find_tool("nft")
        number = os.getpid() % 50
        self.name = f"qs-{os.getpid()}"
        self.bad, self.good = f"qsb{os.getpid()}", f"qsg{os.getpid()}"
        #: the broker as the gateway and as the collector see it
        self.gateway_side, self.collector_side = f"10.213.{number}.2", f"10.214.{number}.2"
        try:
            self._lay()
        except subprocess.CalledProcessError as error:
            self.close()
            _impossible(f"this machine does not let us make a network: {error.stderr.decode(errors='replace').strip()}")

    def _lay(self) -> None:
        self._run("netns", "add", self.name)
        self._run("-n", self.name, "link", "set", "lo", "up")
        for cable, address in ((self.bad, self.gateway_side), (self.good, self.collector_side)):
            here = address.removesuffix("2") + "1"
            self._run("link", "add", cable, "type", "veth", "peer", "name", "far", "netns", self.name)
            self._run("-n", self.name, "link", "set", "far", "name", f"{cable}f")
            self._run("addr", "add", f"{here}/30", "dev", cable)
            self._run("link", "set", cable, "up")
            self._run("-n", self.name, "addr", "add", f"{address}/30", "dev", f"{cable}f")
            self._run("-n", self.name, "link", "set", f"{cable}f", "up")

    def _run(self, *words: str) -> None:
        subprocess.run([self._ip, *words], check=True, capture_output=True)

    def prefix(self) -> list[str]:
        """Returns the words before a command that is to run in the namespace."""
        return [self._ip, "netns", "exec", self.name]

    def drop(self, percent: int) -> None:
        """From now on the bad cable loses so many of a hundred packets, each way; 100: a black hole."""
        which = "" if percent >= 100 else f"numgen random mod 100 < {percent} "
        rules = "table inet bad\ndelete table inet bad\n"
        if percent:
            rules += "table inet bad {\n"
            for hook, word in (("input", "iifname"), ("output", "oifname")):
                rules += (
                    f"chain {hook} {{ type filter hook {hook} priority 0; {word} {self.bad}f {which}counter drop; }}\n"
                )
            rules += "}\n"
        subprocess.run([*self.prefix(), self._nft, "-f", "-"], input=rules.encode(), check=True, capture_output=True)

    def dropped(self) -> int:
        """Returns how many packets the rule of now has dropped."""
        done = subprocess.run(
            [*self.prefix(), self._nft, "list", "table", "inet", "bad"], check=True, capture_output=True, text=True
        )
        return sum(int(number) for number in re.findall(r"counter packets (\d+)", done.stdout))

    def limit(self, rate: str, queue_ms: int) -> None:
        """From now on the bad cable carries ``rate`` (as tc says it) each way, with a queue of so many ms."""
        words = ["root", "tbf", "rate", rate, "burst", "1600", "latency", f"{queue_ms}ms"]
        tc = find_tool("tc")
        subprocess.run([tc, "qdisc", "replace", "dev", self.bad, *words], check=True, capture_output=True)
        subprocess.run(
            [*self.prefix(), tc, "qdisc", "replace", "dev", f"{self.bad}f", *words], check=True, capture_output=True
        )

    def close(self) -> None:
        """Removes everything; safe twice."""
        subprocess.run([self._ip, "netns", "del", self.name], check=False, capture_output=True)
        for cable in (self.bad, self.good):
            subprocess.run([self._ip, "link", "del", cable], check=False, capture_output=True)
