"""A lost state is recovered from its mirror on the target, or from a file, before anything is decided.

Rule: a state that is not known to be whole is not taken. Only who holds the lease reads the mirror, after a head of its
own: what an earlier owner still has on its way comes before that, or is refused. A mirror that somebody copied without
(the lease group's commits carry a later term than its head) is left alone, and so are offset maps of partitions of
which the target remembers nothing: they stop as STATE_LOST.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from kmigrate.copy.identity import producer_id
from kmigrate.errors import ClusterError, ClustersAway, KmigrateError, Refused
from kmigrate.kafka_types import Term, TopicPartition
from kmigrate.runner.mirror_topic import (
    MirrorAbsent,
    MirrorDenied,
    MirrorDiffers,
    MirrorFenced,
    MirrorTopic,
    Record,
    read_all,
)
from kmigrate.runner.mirroring import MIRROR_TERM
from kmigrate.runner.positions import Commit
from kmigrate.state.export import read_export
from kmigrate.state.mirror import HEAD_KEY, RUNS_TABLE, Head, Key, is_stale, next_writer, producer_of
from kmigrate.state.outbox import Outbox
from kmigrate.state.store import Store

STATE_ID = "state.id"
"""A fact: the id of this state, which a recovered one keeps."""
READ_SECONDS = 15.0
AGAIN_SECONDS = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What a mirror is read with. `lease` takes the lease and gives its term; `committed` are the group's commits."""

    store: Store
    outbox: Outbox
    topic: MirrorTopic
    wanted: Head
    lease: Callable[[], Term]
    committed: Callable[[], Mapping[TopicPartition, Commit]]
    may_write: Callable[[], bool]
    wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000


class Recovered(NamedTuple):
    """What came of it, in words; empty where there is nothing to recover."""

    loaded: bool
    words: str


_NOTHING = Recovered(False, "")


def recover(recovery: Recovery, *, is_new: bool) -> Recovered:
    """Loads the mirror where the folder has no state, or an older one.

    Raises Refused if it is another migration's, ClustersAway if it cannot be read now.
    """
    deadline = time.monotonic() + READ_SECONDS
    while True:
        try:
            return _recover(recovery, is_new=is_new)
        except MirrorAbsent:
            return _NOTHING
        except (MirrorDenied, MirrorFenced, MirrorDiffers) as error:
            return Recovered(False, f"no state was recovered: {error}")
        except ClusterError as error:
            if time.monotonic() >= deadline:
                raise ClustersAway(
                    f"the state on the target cannot be read: {error}", hint="run again when the target answers"
                ) from error
            time.sleep(AGAIN_SECONDS)


def _recover(recovery: Recovery, *, is_new: bool) -> Recovered:
    name = recovery.topic.topic
    head = recovery.topic.head()
    if head is None:
        return _NOTHING
    reason = head.objection(recovery.wanted)
    if reason and is_new:
        raise Refused(
            f"the topic {name} on the target {reason}",
            hint="choose another metadata.name, or the newer kmigrate; delete the topic if nobody needs it",
        )
    if reason or not (is_new or _is_later(head, recovery)):
        return _NOTHING
    term = recovery.lease()
    head = recovery.topic.head()
    if head is None or head.objection(recovery.wanted):
        return _NOTHING
    commits = recovery.committed()
    if is_stale(head, {partition: commit.term for partition, commit in commits.items()}):
        return Recovered(
            False,
            f"no state was recovered: what is in {name} is older than the copy, as somebody copied later without"
            " writing to it",
        )
    end = _fence(recovery, head, term)
    mirrored = read_all(recovery.topic, end)
    count = _load(recovery, mirrored, lambda place: place in commits)
    recovery.store.remember({partition: commit.memory for partition, commit in commits.items()})
    recovery.store.decide(
        "recovered", {"topic": name, "records": count, "asOf": head.at}, facts={MIRROR_TERM: str(term)}
    )
    return Recovered(True, f"state recovered from {name}: {count:,} records, as of {_moment(head.at)}")


def _is_later(head: Head, recovery: Recovery) -> bool:
    """Whether another folder went on with this state, after this one did."""
    store = recovery.store
    return head.state == store.get(STATE_ID) and head.term > int(store.get(MIRROR_TERM) or 0)


def _fence(recovery: Recovery, head: Head, term: Term) -> int:
    """Writes a head of this owner's; returns the offset behind it. Nothing of an earlier owner comes later."""
    writer = next_writer(term, head.writer)
    ours = head.as_of(term=term, writer=writer, at_ms=recovery.wall_ms())
    wanted = recovery.wanted
    recovery.topic.begin(producer_of(producer_id(wanted.source, wanted.target, wanted.name), writer))
    while True:
        if not recovery.may_write():
            raise KmigrateError("the lease was lost while the state was recovered", hint="run again")
        try:
            return recovery.topic.append([Record(HEAD_KEY, ours.to_bytes())], ours.at)
        except ClusterError:
            time.sleep(AGAIN_SECONDS)


def _load(recovery: Recovery, mirrored: Mapping[bytes, bytes], has_map: Callable[[TopicPartition], bool]) -> int:
    def keep(table: str, key: Key) -> bool:
        return table != RUNS_TABLE or has_map(TopicPartition(*key[:2]))  # type: ignore[arg-type]

    try:
        return recovery.outbox.load(mirrored, keep)
    except ValueError as error:
        raise MirrorDiffers(f"the topic {recovery.topic.topic} holds what is no state: {error}") from error


def recover_from_file(path: Path, store: Store, outbox: Outbox, wanted: Head) -> str:
    """Loads an exported state into a folder that has none; raises Refused if it is another migration's."""
    if store.get("name") is not None:
        raise Refused(
            f"{store.path.parent} has a state already", hint="`--recover` is for a lost one; leave it out to go on"
        )
    head, rows = read_export(path)
    reason = head.objection(wanted)
    if reason:
        raise Refused(f"{path} {reason}", hint="name the export of this migration")
    try:
        count = outbox.load(rows, lambda table, _key: table != RUNS_TABLE)
    except ValueError as error:
        raise KmigrateError(f"{path} is no export of a state: {error}", hint="name a copy of export.jsonl") from error
    store.decide("recovered", {"file": str(path), "records": count, "asOf": head.at})
    return (
        f"state recovered from {path}: {count:,} records, as of {_moment(head.at)}; without offset maps, and"
        " decisions that were made later are to be made again"
    )


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
