"""Effects on late records: what the source still gets is appended to the target, each record once, and compared there.

Rule: as in `carrying.py`. Here is decided what is wanted; `runner/late/` appends it. Up to which source offset records
are wanted is looked at once for an effect, so that somebody who goes on writing does not keep it from its end.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kmigrate.cluster.client import ClusterClient
from kmigrate.errors import KmigrateError
from kmigrate.kafka_types import Offset, Side, TopicId, TopicName, TopicPartition
from kmigrate.late.values import NOTHING, Handover
from kmigrate.offsets.offset_map import Ends
from kmigrate.runner.cutover.book import CutoverBook
from kmigrate.runner.cutover.carrying import Carried, Handler, Waits
from kmigrate.runner.cutover.groups_seen import GroupLooker, GroupSeen, read_by_all
from kmigrate.runner.cutover.log_ends import find_log_ends
from kmigrate.runner.cutover.observing import NOTHING_COPIED, settled_late
from kmigrate.runner.late.appending import LateSeen
from kmigrate.schemes.cutover import Cutover
from kmigrate.schemes.effects import Effect, EffectKind, End

Places = dict[TopicPartition, Offset]


class Appender(Protocol):
    """What appends; for any thread."""

    trouble: str

    def open(self, handovers: Mapping[TopicPartition, Handover]) -> None: ...
    def forgo(self, partitions: Collection[TopicPartition]) -> bool: ...
    def seen(self) -> Mapping[TopicPartition, LateSeen]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LateEffects:
    """The handlers; `clients` opens a client of a cluster, each handler closes its own.

    `ends_of` tells where the copy of a topic ended; `prove` compares what was appended to these partitions.
    """

    book: CutoverBook
    appender: Appender
    clients: Mapping[Side, Callable[[], ClusterClient]]
    ends_of: Callable[[TopicName], Mapping[TopicPartition, Ends] | None]
    prove: Callable[[Sequence[TopicPartition]], None]
    _wanted: dict[str, Places] = field(default_factory=dict)
    """Wave and effect → up to where records are wanted while it is being carried out."""

    def handlers(self) -> dict[EffectKind, Handler]:
        return {
            EffectKind.OPEN_OVERLAP: self.open,
            EffectKind.CLOSE_OVERLAP: self.close,
            EffectKind.APPEND_LATE: self.append,
            EffectKind.FORGO_LATE: self.forgo,
        }

    # -- the overlap

    def open(self, cutover: Cutover, effect: Effect) -> Carried | Waits:
        """From where the copy ended everything is late, until it is closed."""
        topics = cutover.topics_of(effect.scope)
        ends: dict[TopicPartition, Ends] = {}
        for topic in topics:
            known = self.ends_of(topic)
            if known is None:
                return Waits(f"the copy of topic {topic} has not ended yet")
            ends |= known
        here, there = self._ids(Side.SOURCE, topics), self._ids(Side.TARGET, topics)
        self.appender.open(
            {tp: Handover(here[tp.topic], there[tp.topic], each.source, each.target) for tp, each in ends.items()}
        )
        return Carried()

    def close(self, cutover: Cutover, effect: Effect) -> Carried | Waits:
        """Everything that the source has by now is appended, and compared."""
        key, topics = _key(cutover, effect), cutover.topics_of(effect.scope)
        if key not in self._wanted:
            ends = find_log_ends(self.clients[Side.SOURCE], Side.SOURCE, topics, settled=True)
            if isinstance(ends, Waits):
                return ends
            seen = {tp: each for tp, each in self.appender.seen().items() if tp in ends}
            opened = {tp: each for tp, each in seen.items() if tp not in cutover.forgone}
            here, there = self._ids(Side.SOURCE, topics), self._ids(Side.TARGET, topics)
            self.appender.open(
                {
                    tp: Handover(here[tp.topic], there[tp.topic], each.position, Offset(0), ends[tp])
                    for tp, each in opened.items()
                }
            )
            self._wanted[key] = {tp: ends[tp] for tp in seen}
        return self._finish(cutover, effect)

    # -- what came late

    def append(self, cutover: Cutover, effect: Effect) -> Carried | Waits:
        """What came to the source behind the end of the copy, and was neither read there nor settled, up to now."""
        key = _key(cutover, effect)
        topics = tuple(topic for topic in cutover.topics_of(effect.scope) if topic in cutover.promoted_topics)
        if key not in self._wanted:
            ends = find_log_ends(self.clients[Side.SOURCE], Side.SOURCE, topics, settled=True)
            after = find_log_ends(self.clients[Side.TARGET], Side.TARGET, topics, settled=False)
            starts = self._starts(cutover, topics)
            for each in (ends, after, starts):
                if isinstance(each, Waits):
                    return each
            assert not isinstance(ends, Waits), "it is known"
            assert not isinstance(after, Waits), "it is known"
            assert not isinstance(starts, Waits), "it is known"
            late = sorted(
                tp for tp, end in ends.items() if tp in starts and starts[tp] < end and tp not in cutover.forgone
            )
            missing = [tp for tp in late if tp not in after]
            if missing:
                raise KmigrateError(
                    f"{missing[0]} is not on the target", hint="add that partition to the target's topic"
                )
            here, there = self._ids(Side.SOURCE, topics), self._ids(Side.TARGET, topics)
            self.appender.open(
                {tp: Handover(here[tp.topic], there[tp.topic], starts[tp], after[tp], ends[tp]) for tp in late}
            )
            self._wanted[key] = ends
        return self._finish(cutover, effect)

    def _starts(self, cutover: Cutover, topics: Sequence[TopicName]) -> Places | Waits:
        """Of each partition the first source offset that some group may not have got."""
        read = self._read(cutover)
        if isinstance(read, Waits):
            return read
        settled, starts = settled_late(cutover), Places()
        for topic in topics:
            known = self.ends_of(topic)
            if known is None:
                return Waits(f"the copy of topic {topic} has not ended yet")
            client = self.clients[Side.SOURCE]()
            try:
                there = client.metadata([topic]).topics[topic].partitions
            finally:
                client.close()
            for tp in (TopicPartition(topic, number) for number in there):
                ended = known.get(tp, NOTHING_COPIED).source
                starts[tp] = max(ended, settled.get(tp, Offset(0)), read(tp))
        return starts

    def _read(self, cutover: Cutover) -> Callable[[TopicPartition], Offset] | Waits:
        looker = GroupLooker(self.clients[Side.SOURCE]())
        try:
            seen = looker.look(cutover.wave.groups) if cutover.wave.groups else {}
        finally:
            looker.close()
        found = {group: seen.get(group, GroupSeen()) for group in cutover.wave.groups}
        silent = sorted(group for group, each in found.items() if each.commits is None)
        if silent:
            return Waits(f"what group {silent[0]} has read on the source is not known")
        return read_by_all(found)

    # -- what cannot be appended

    def forgo(self, cutover: Cutover, effect: Effect) -> Carried | Waits:
        """Of these partitions nothing more is appended; tells from which source offset on nothing was.

        One more batch may lie on the target: one that was sent, and of which nobody can tell what became of it.
        """
        if not self.appender.forgo(effect.places):
            return Waits("what is just being appended is answered first")
        seen = self.appender.seen()
        return Carried(tuple(End(tp.topic, tp.partition, seen[tp].position) for tp in effect.places if tp in seen))

    # -- to the end

    def _finish(self, cutover: Cutover, effect: Effect) -> Carried | Waits:
        key, seen = _key(cutover, effect), self.appender.seen()
        wanted = self._wanted[key]
        mine = {tp: each for tp, each in seen.items() if tp in wanted}
        stopped = sorted(tp for tp, each in mine.items() if each.stop and not each.is_done)
        if stopped:
            raise KmigrateError(f"late records of {stopped[0]}: {mine[stopped[0]].stop}")
        for tp, each in sorted(mine.items()):
            if not each.is_done:
                trouble = f"; {self.appender.trouble}" if self.appender.trouble else ""
                return Waits(f"late records of {tp} are appended up to {each.position:,} of {each.until:,}{trouble}")
        self.prove(sorted(tp for tp, each in mine.items() if each.until != NOTHING))
        del self._wanted[key]
        self.book.record_late(cutover.wave.name, effect.kind.value, {tp: each.landed for tp, each in mine.items()})
        return Carried(tuple(End(tp.topic, tp.partition, end) for tp, end in sorted(wanted.items())))

    def _ids(self, side: Side, topics: Sequence[TopicName]) -> dict[TopicName, TopicId]:
        client = self.clients[side]()
        try:
            return {name: each.topic_id for name, each in client.metadata(topics).topics.items()}
        finally:
            client.close()


def _key(cutover: Cutover, effect: Effect) -> str:
    return f"{cutover.wave.name}: {effect}"
