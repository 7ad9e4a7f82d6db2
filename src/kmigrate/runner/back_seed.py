"""What the copy back must remember before it begins: from where on the source's log is its own, and what lies below.

It never wrote what lies below, so no look at the clusters could tell it. All of it follows from what the migration
remembers, and from where its source ended when its writers had left. `decide_seed` is pure; `plant` writes.

Rule: a partition is begun once, at one end. What is planted last makes it begun, so a crash before that is harmless.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from typing import NamedTuple

from kmigrate.copy.orders import Remembered
from kmigrate.errors import Refused
from kmigrate.kafka_types import UNKNOWN_EPOCH, Offset, Side, TopicName, TopicPartition
from kmigrate.offsets.beginning import EARLIEST, Beginning
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Run
from kmigrate.runner.beginnings import START
from kmigrate.state.store import RunsFrom, Store
from kmigrate.topics.intended import Intended

_ZERO = Offset(0)


class Copied(NamedTuple):
    """What the migration remembers of a partition; `runs` are those of its offset map around the end of its source."""

    memory: Remembered
    offset_class: OffsetClass
    runs: tuple[Run, ...]
    start: Offset


class Seed(NamedTuple):
    """What the copy back is to remember of a partition; source and target are its own, so the migration's swapped."""

    memory: Remembered
    offset_class: OffsetClass
    runs: tuple[Run, ...]
    beginning: Beginning


def copied_of(
    store: Store, ends: Mapping[TopicPartition, Offset], topics: Collection[TopicName]
) -> dict[TopicPartition, Copied]:
    """What the migration's store remembers of the partitions of these topics.

    Raises Refused if it lacks one for which there is an end, or there is no end for one that it knows.
    """
    memories, classes, beginnings = store.remembered(), store.offset_classes(), store.beginnings()
    endless = sorted(tp for tp in memories if tp.topic in topics and tp not in ends)
    if endless:
        raise Refused(
            f"the source's end of {endless[0]} is missing: a topic is copied back with all its partitions",
            hint="read the ends of all partitions once nobody writes to the source any more",
        )
    found = {}
    for partition, end in ends.items():
        if partition.topic not in topics:
            continue
        if partition not in memories:
            raise Refused(
                f"nothing is remembered of {partition}: it was not copied by this migration, or local state was lost",
                hint="run the migration until it is in sync, so that it reads from the target what it copied",
            )
        offset_class = classes.get(partition, OffsetClass.IDENTICAL)
        runs = tuple(store.offset_runs_near(partition, end, Side.SOURCE)) if offset_class.needs_map else ()
        beginning = beginnings.get(partition)
        start = _ZERO if beginning is None or beginning.start is None else beginning.start
        found[partition] = Copied(memories[partition], offset_class, runs, start)
    return found


def decide_seed(partition: TopicPartition, end: Offset, copied: Copied, even_ms: int) -> Seed:
    """What is to be remembered of a partition whose source ended at `end`, and was all copied.

    As of `even_ms` nothing was written to the target but the copy. Raises Refused if more than that was copied.
    """
    target_end = _target_end(end, copied)
    memory = copied.memory
    if memory.appended > target_end:
        raise Refused(
            f"{partition} was copied up to {memory.appended} on the target, beyond {target_end}, where the source's"
            f" end {end} lies",
            hint="the end must be that of a source to which nobody writes any more, all of it copied",
        )
    return Seed(
        Remembered(memory.target_topic_id, memory.source_topic_id, UNKNOWN_EPOCH, end, even_ms, None),
        copied.offset_class,
        _runs_back(end, target_end, copied),
        Beginning(
            memory.target_topic_id,
            copied.start if copied.offset_class is OffsetClass.IDENTICAL else _ZERO,
            0,
            own_from=end,
        ),
    )


def _target_end(end: Offset, copied: Copied) -> Offset:
    """Where the end of the source lies on the target."""
    if not copied.offset_class.needs_map:
        return end
    run = next((run for run in reversed(copied.runs) if run.source <= end), None)
    return _ZERO if run is None else Offset(run.target + end - run.source)


def _runs_back(end: Offset, target_end: Offset, copied: Copied) -> tuple[Run, ...]:
    """The last records before the end, and the end: that is all of the map which the way back needs."""
    if not copied.offset_class.needs_map:
        return ()
    last = next((run for run in reversed(copied.runs) if run.source <= end and run.target < target_end), None)
    to_end = Run(source=target_end, target=end)
    if last is None:
        return (to_end,)
    before = Run(source=last.target, target=last.source)
    return (before,) if target_end - last.target == end - last.source else (before, to_end)


def begun(store: Store) -> dict[TopicPartition, Offset]:
    """The partitions that the copy back was begun for and not ended, each with the end at which it began."""
    return {tp: each.own_from for tp, each in store.beginnings().items() if each.own_from is not None}


def plant(store: Store, seeds: Mapping[TopicPartition, Seed], intended: Mapping[TopicName, Intended]) -> None:
    """Has the copy back's store remember these; what topics are to become again is recorded once."""
    store.remember({tp: seed.memory for tp, seed in seeds.items()})
    recorded = store.intended()
    store.record_intended({name: each for name, each in intended.items() if name not in recorded})
    store.put(START, EARLIEST)
    store.decide_classes(
        {tp: seed.offset_class for tp, seed in seeds.items()},
        {
            tp: RunsFrom(0, b"".join(struct.pack(">qq", *run) for run in seed.runs))
            for tp, seed in seeds.items()
            if seed.offset_class.needs_map
        },
        {tp: seed.beginning for tp, seed in seeds.items()},
    )
