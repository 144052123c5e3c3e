"""The mender's thread: it goes on while there is more, says a failing disk once, and ends when it is told to."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from collector.errors import StoreError
from collector.mender import Mender


def test_it_steps_until_there_is_no_more_and_outlives_a_failing_disk(caplog: pytest.LogCaptureFixture) -> None:
    answers = [True, StoreError("disk full"), StoreError("disk full"), True, False]
    done = threading.Event()
    taken = 0

    def step() -> bool:
        nonlocal taken
        if taken >= len(answers):
            done.set()
            return False
        answer = answers[taken]
        taken += 1
        if isinstance(answer, StoreError):
            raise answer
        return answer

    def run(job: Callable[[sqlite3.Connection], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(job(sqlite3.connect(":memory:")))
        except StoreError as error:
            future.set_exception(error)
        return future

    mender = Mender(run, step, idle_s=0.001)
    with caplog.at_level(logging.ERROR):
        mender.start()
        assert done.wait(20)
        mender.stop()
        mender.stop()
    assert taken == len(answers)
    assert caplog.text.count("clock repair waits: disk full") == 1
