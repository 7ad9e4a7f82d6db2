"""A process that verifies partitions for a command: takes a task, reads both clusters, says what came of it.

Started by `verify_processes` with the number of a file descriptor. Down come one `Settings`, then tasks; up come `Told`
while it reads, and an `Outcome` or `PairOutcome` for each task. The end of file ends it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import NamedTuple

from kmigrate.kafka_types import TopicPartition
from kmigrate.runner.leaders import ClusterLeaders
from kmigrate.runner.log_pieces import Pace
from kmigrate.runner.reach import Reach
from kmigrate.runner.verify_pair import PairOutcome, PairTask, verify_pair
from kmigrate.runner.verify_partition import Outcome, Sides, Task, verify_partition
from kmigrate.verify.walk import Amounts

TELL_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a worker is told first: how to reach both clusters, and how many bytes of the source it may read a
    second."""

    source: Reach
    target: Reach
    bytes_per_second: float | None


class Told(NamedTuple):
    """How far a task has come: compared up to this offset of the source, and how much that was."""

    partition: TopicPartition
    compared_to: int
    amounts: Amounts


class Pacer:
    """Keeps to a rate: whoever has read too much for the time it took waits until it has not."""

    def __init__(
        self,
        bytes_per_second: float | None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate, self._sleep, self._now = bytes_per_second, sleep, now
        self._paid_until = now()

    def __call__(self, size: int) -> None:
        if self._rate is None:
            return
        now = self._now()
        self._paid_until = max(self._paid_until, now) + size / self._rate
        if self._paid_until > now:
            self._sleep(self._paid_until - now)


def serve(connection: Connection) -> None:
    """Works until the other side closes the connection."""
    settings = connection.recv()
    sides = Sides(ClusterLeaders(settings.source), ClusterLeaders(settings.target))
    pace = Pace(pause=Pacer(settings.bytes_per_second))
    while True:
        task: Task | PairTask = connection.recv()
        connection.send(_work(task, sides, pace, connection))


def _work(task: Task | PairTask, sides: Sides, pace: Pace, connection: Connection) -> Outcome | PairOutcome:
    told_at = time.monotonic()

    def tell(compared_to: int, amounts: Amounts) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= TELL_SECONDS:
            told_at = time.monotonic()
            connection.send(Told(task.partition, compared_to, amounts))

    if isinstance(task, PairTask):
        return verify_pair(task, sides, pace, tell)
    return verify_partition(task, sides, pace, tell)


def main() -> None:
    """The whole life of the process; never returns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells all; the command decides
    try:
        serve(Connection(int(sys.argv[1])))
    except (EOFError, OSError):
        os._exit(0)
