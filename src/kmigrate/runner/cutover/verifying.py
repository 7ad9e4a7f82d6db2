"""Verifies topics just before their writers wait, and the rest while they do: in this process, as that is little.

Rule: one look for all of them, several partitions read at the same time, and what was found is kept in one step: each
of these costs more than reading a tail.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from kmigrate.cluster.cord import Cord, current_cord, working_on
from kmigrate.errors import KmigrateError, Refused
from kmigrate.kafka_types import Offset, Side, TopicName, TopicPartition
from kmigrate.manifest import Manifest
from kmigrate.runner.leaders import ClusterLeaders
from kmigrate.runner.log_pieces import Pace
from kmigrate.runner.lookup import PartitionRuns
from kmigrate.runner.reach import Reach
from kmigrate.runner.status import StatusDocument
from kmigrate.runner.verification import PartitionVerification
from kmigrate.runner.verify import Memory, Progress, Scope, Verifier
from kmigrate.runner.verify_partition import Mode, Outcome, Sides, Task, verify_partition
from kmigrate.runner.verify_rows import Wish
from kmigrate.runner.verify_worker import Told

LANES = 4
"""How many partitions are read at the same time: most of that is waiting for a broker."""
SHORT_SECONDS = 0.7
SHOWN_SECONDS = 1.0
"""How long it is waited for that what is copied is shown, too: some tenths of a second."""
_POLL_SECONDS = 0.05
MOST_PASSES = 5
"""What is written while a pass reads is left for the next one: after a short one, or so many, little enough is left."""


def verify_here(manifest: Manifest, memory: Memory, ends: Mapping[TopicPartition, Offset]) -> str:
    """Verifies partitions up to these offsets of the source; what is missing, empty if nothing is.

    Raises Refused where something differs, KmigrateError where something could not be compared.
    """
    if _unverified(memory, ends) is None:
        return ""
    _wait_until_shown(memory, ends)
    _verify(manifest, memory, frozenset(tp.topic for tp in ends))
    missing = _unverified(memory, ends)
    return "" if missing is None else f"{missing} is verified, but not up to where it was frozen yet"


def verify_ahead(
    manifest: Manifest, memory: Memory, topics: Iterable[TopicName], seconds: Callable[[], float] = time.monotonic
) -> None:
    """Verifies what is copied by now, before anybody waits, so that little is left to be verified while they do.

    Raises as `verify_here`.
    """
    for _ in range(MOST_PASSES):
        began = seconds()
        _verify(manifest, memory, frozenset(topics))
        if seconds() - began < SHORT_SECONDS:
            return


def _verify(manifest: Manifest, memory: Memory, topics: frozenset[TopicName]) -> None:
    reach = {
        Side.SOURCE: Reach.of(Side.SOURCE, manifest.source, manifest.name),
        Side.TARGET: Reach.of(Side.TARGET, manifest.target, manifest.name),
    }
    gathered = _Gathered(memory)
    verifier = Verifier(
        manifest=manifest, memory=gathered, report=_tell_nobody, work=lambda tasks: _in_lanes(reach, tasks)
    )
    try:
        document = verifier.run(Scope(topics=frozenset(topics)), Wish(mode=Mode.RECORDS))
    finally:
        gathered.keep()
    if document.different:
        first = document.different[0]
        raise Refused(
            f"{first.name} differs: `kmigrate verify -f FILE -t {first.topic} --stored` names the offset",
            hint="writers are free where they were; find out why before you go on",
        )
    if document.unknown:
        first = document.unknown[0]
        raise KmigrateError(f"{first.name} could not be compared: {first.reason}", hint=first.hint)


class _Gathered:
    """What the migration remembers; what is to be kept of this verification is gathered."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._rows: dict[tuple[str, int], PartitionVerification] = {}

    def status(self) -> StatusDocument:
        return self._memory.status()

    def runs(self, topic: str | None) -> Iterator[PartitionRuns]:
        return self._memory.runs(topic)

    def verifications(self, mode: Mode) -> list[PartitionVerification]:
        return self._memory.verifications(mode)

    def save_verifications(self, rows: Sequence[PartitionVerification]) -> None:
        self._rows |= {(each.topic, each.partition): each for each in rows}

    def keep(self) -> None:
        if self._rows:
            self._memory.save_verifications([*self._rows.values()])


def _in_lanes(reach: Mapping[Side, Reach], tasks: Sequence[Task]) -> Iterator[Told | Outcome]:
    """Reads several partitions at once, each lane over links of its own."""
    cord = current_cord() or Cord()
    lane = threading.local()
    topics = {task.partition.topic for task in tasks}
    opened: list[ClusterLeaders] = []

    def read(task: Task) -> Outcome:
        with working_on(cord):
            if not hasattr(lane, "sides"):
                lane.sides = Sides(*(ClusterLeaders(reach[side], topics) for side in (Side.SOURCE, Side.TARGET)))
                opened.extend(lane.sides)
            return verify_partition(task, lane.sides, Pace(), lambda _to, _amounts: None)

    pool = ThreadPoolExecutor(max_workers=min(LANES, len(tasks)), thread_name_prefix="verify")
    try:
        for done in as_completed([pool.submit(read, task) for task in tasks]):
            yield done.result()
    finally:
        pool.shutdown(cancel_futures=True)
        for each in opened:
            each.close()


def _wait_until_shown(memory: Memory, ends: Mapping[TopicPartition, Offset]) -> None:
    """Verification goes as far as the status shows that something is copied: below that end it would be for nothing."""
    wanted: dict[tuple[str, int], Offset] = {(tp.topic, tp.partition): end for tp, end in ends.items()}
    deadline = time.monotonic() + SHOWN_SECONDS
    while time.monotonic() < deadline:
        told = ((wanted.get((each.topic, each.partition), 0), each.position) for each in memory.status().partitions)
        if all(position is not None and position >= end for end, position in told if end):
            return
        time.sleep(_POLL_SECONDS)


def _unverified(memory: Memory, ends: Mapping[TopicPartition, Offset]) -> TopicPartition | None:
    """The first partition that is not verified up to where it is to be; None if there is none."""
    reached = {(each.topic, each.partition): each.end for each in memory.verifications(Mode.RECORDS)}
    behind = (tp for tp, end in sorted(ends.items()) if (reached.get((tp.topic, tp.partition)) or 0) < end)
    return next(behind, None)


def _tell_nobody(_progress: Progress) -> None:
    return
