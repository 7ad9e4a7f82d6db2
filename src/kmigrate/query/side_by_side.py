"""Asks both clusters at the same time: what takes a round trip on each takes one, not two.

Rule: a side is used by one thread at a time. Where sides fail, the first one's error is raised, after both have ended;
Ctrl-C waits for none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Thread
from typing import Protocol, TypeVar

from kmigrate.kafka_types import Side


class Sided(Protocol):
    """What belongs to a side."""

    side: Side


S = TypeVar("S", bound=Sided)
T = TypeVar("T")


def side_by_side(sides: Sequence[S], ask: Callable[[S], T]) -> dict[Side, T]:
    """What each side answers; the last one is asked in this thread, the others each in one of their own."""
    answers: dict[Side, T] = {}
    failures: dict[Side, Exception] = {}

    def run(side: S) -> None:
        try:
            answers[side.side] = ask(side)
        except Exception as error:  # noqa: BLE001  raised below, in the thread that asked
            failures[side.side] = error

    threads = [Thread(target=run, args=(side,), daemon=True) for side in sides[:-1]]
    for thread in threads:
        thread.start()
    for side in sides[-1:]:
        run(side)
    for thread in threads:
        thread.join()
    for side in sides:
        if side.side in failures:
            raise failures[side.side]
    return {side.side: answers[side.side] for side in sides}
