"""A bell ends a wait for answers before its time, and only the one that it was rung for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from kmigrate.cluster.bell import Bell
from kmigrate.cluster.connection import RealNetwork

LONG_SECONDS = 60.0


@pytest.fixture
def bell() -> Iterator[Bell]:
    made = Bell()
    yield made
    made.close()


def test_a_bell_ends_a_wait_from_another_thread(bell: Bell) -> None:
    network = RealNetwork({}).hearing(bell)
    ended = threading.Event()

    def wait() -> None:
        assert network.wait([], LONG_SECONDS) == []
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    assert not ended.wait(0.05)
    bell.ring()
    assert ended.wait(LONG_SECONDS / 2), "it waited on"


def test_what_was_rung_before_ends_the_next_wait_and_no_other(bell: Bell) -> None:
    network = RealNetwork({}).hearing(bell)
    for _ in range(100_000):  # more than a pipe takes
        bell.ring()
    for _ in range(1_000):  # as often as it takes to hear it all
        began = time.monotonic()
        network.wait([], 0.05)
        if time.monotonic() - began >= 0.05:
            return
    raise AssertionError("it rings on")
