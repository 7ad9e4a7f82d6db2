"""The fence watch lifts every fence that nobody confirms any more, and tries until it is lifted.

A small process of its own, because a dead owner fires no timer. It needs the fence book and the clusters, no database
and no owner. Rule: it ends only when nothing is left to lift, and decides that under the book's lock, so that a fence
that is added later finds that nobody watches. Two of them do no harm. A restart of the machine ends it: `status` says
that nobody watches, and any `fence put` or `fence watch` starts another.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from kmigrate.cluster.client import ClusterClient
from kmigrate.errors import KmigrateError
from kmigrate.kafka_types import Side
from kmigrate.preflight.guards import guard_cluster
from kmigrate.runner.fencing import Fencer
from kmigrate.security.fence import Fence
from kmigrate.security.fence_moves import removal_lines
from kmigrate.state.fence_book import FenceBook

LOG_NAME = "fence-watch.log"
POLL_SECONDS = 1.0
AGAIN_SECONDS = 5.0
"""After a failure, and while a request that was cut short may still arrive."""
START_SECONDS = 60.0

_log = logging.getLogger(__name__)


class FenceWatch:
    """Watches the fences of one migration; `clients` makes a new client of a side."""

    def __init__(
        self,
        book: FenceBook,
        clients: Mapping[Side, Callable[[], ClusterClient]],
        *,
        tell: Callable[[str], None] = lambda message: None,
        sleep: Callable[[float], None] = time.sleep,
        fencer: Callable[[ClusterClient, FenceBook], Fencer] = Fencer,
    ) -> None:
        self._book = book
        self._clients = clients
        self._tell = tell
        self._sleep = sleep
        self._fencer = fencer
        self._told: dict[int, str] = {}

    def run(self) -> None:
        """Watches until nothing is left to lift."""
        with self._book.watching() as end:
            self._say("watching")
            while True:
                try:
                    pause = self.turn()
                    if pause is None and self._is_over(end):
                        return
                except Exception as error:  # noqa: BLE001  an outermost edge: whatever fails, fences must come down
                    pause = AGAIN_SECONDS
                    self._say(f"trying on: {type(error).__name__}: {error}")
                self._sleep(pause or 0)

    def _is_over(self, end: Callable[[], None]) -> bool:
        with self._book.locked():
            if self._left():
                return False
            end()
        self._say("nothing is left to lift")
        return True

    def turn(self) -> float | None:
        """Lifts what is due; how long to wait for the next turn, None if nothing is left to watch."""
        left = self._left()
        if not left:
            return None
        pause = POLL_SECONDS
        for fence in left:
            now = self._book.now()
            if fence.is_wanted and not fence.is_due(now):
                continue
            if not fence.is_wanted and not self._is_ours_to_lift(fence):
                continue
            pause = AGAIN_SECONDS if not self._lift(fence) or fence.may_be_late(now) else pause
        return pause

    def _left(self) -> list[Fence]:
        """Fences that are not lifted, and those of which something may still arrive."""
        now = self._book.now()
        return [each for each in self._book.fences() if each.ended is None or each.may_be_late(now)]

    def _is_ours_to_lift(self, fence: Fence) -> bool:
        """Whoever lifts by command has the time that it needs; after that we do."""
        if fence.ended is not None or not fence.events:
            return True
        return self._book.now().wall_ms - fence.events[-1].at_ms >= AGAIN_SECONDS * 1000

    def _lift(self, fence: Fence) -> bool:
        now = self._book.now()
        why = f"nobody confirmed it for {fence.period_seconds:.0f} s"
        try:
            with contextlib.closing(self._clients[fence.side]()) as client:
                found = client.metadata([]).cluster_id
                guard_cluster(fence.side, found, wanted=fence.cluster_id, remembered=None)
                # Between the look and here somebody may have confirmed it: the book decides, under its lock.
                if fence.is_wanted and not self._decide_to_lift(fence.number, why):
                    return True
                lifted = self._fencer(client, self._book).lift(fence.number, why)
        except KmigrateError as error:
            self._say(f"fence {fence.number} is not lifted yet, trying on: {error}", fence.number)
            for line in removal_lines(fence):
                _log.info("by hand: %s", line)
            return False
        self._book.change(fence.number, lambda known: known.settle(now))
        self._say(f"fence {fence.number} is lifted" + "".join(f"; left: {each}" for each in lifted.left), fence.number)
        return True

    def _decide_to_lift(self, number: int, why: str) -> bool:
        def decide(fence: Fence) -> Fence | None:
            now = self._book.now()
            return fence.lift(now, why) if fence.is_due(now) or not fence.is_wanted else None

        return self._book.change(number, decide) is not None

    def _say(self, message: str, number: int = 0) -> None:
        """Says it once."""
        if self._told.get(number) != message:
            self._told[number] = message
            _log.info(message)
            self._tell(message)


def start_watch(book: FenceBook, migration: Path, arguments: list[str]) -> None:
    """Starts a watcher that outlives this process, unless one lives; raises KmigrateError if it does not come up.

    `arguments` are those of its command line, behind `kmigrate fence watch`.
    """
    if book.is_watched():
        return
    log = migration / LOG_NAME
    fd = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "kmigrate", "fence", "watch", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=fd,
            stderr=fd,
            start_new_session=True,
        )
    finally:
        os.close(fd)
    deadline = time.monotonic() + START_SECONDS
    while not book.is_watched():
        if process.poll() is not None or time.monotonic() >= deadline:
            raise KmigrateError(
                f"the process that lifts the fence when nobody confirms it did not start; its log is {log}",
                hint="`kmigrate fence watch -f FILE` in another terminal says why",
            )
        time.sleep(0.05)
