"""Effects on the copy and its topics: it ends and goes on, holds, where logs end, the rest copied and verified.

Rule: as in `carrying.py`. What ends a topic's copy is in the book before the effect counts as done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from kmigrate.cluster.client import ClusterClient
from kmigrate.copy.guard import Stillness
from kmigrate.errors import ClusterError, Refused
from kmigrate.kafka_types import Offset, Side, TopicName, TopicPartition
from kmigrate.manifest import Manifest
from kmigrate.offsets.offset_map import Ends
from kmigrate.runner.cutover.book import CutoverBook
from kmigrate.runner.cutover.carrying import Carried, Handler, Waits, carry_nothing
from kmigrate.runner.cutover.log_ends import find_log_ends
from kmigrate.runner.cutover.observing import NOTHING_COPIED
from kmigrate.runner.cutover.verifying import verify_here
from kmigrate.runner.effects import Effects
from kmigrate.runner.verify import Memory
from kmigrate.schemes.cutover import Cutover
from kmigrate.schemes.effects import Effect, EffectKind, End
from kmigrate.topics.alter import AlterOutcome
from kmigrate.topics.create import Failed, Later

ENDING_SECONDS = 1.0
"""How long whoever copies is waited for at a time."""
_POLL_SECONDS = 0.02


class Copy(Protocol):
    """What is done with the copy; for any thread."""

    def end_topics(self, topics: Iterable[TopicName]) -> None: ...
    def resume_topics(self, topics: Iterable[TopicName]) -> None: ...
    def ends_of(self, topic: TopicName) -> Mapping[TopicPartition, Ends] | None: ...
    def positions_of(self, topic: TopicName) -> Mapping[TopicPartition, Ends]: ...
    def correct_ends(self, topic: TopicName, ends: Mapping[TopicPartition, Ends]) -> None: ...
    def quiet_seconds(self) -> float: ...


class TopicsStill:
    """For how many seconds the log ends of a topic were seen to be the same; None: they could not be seen."""

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._seen: dict[TopicName, tuple[Mapping[TopicPartition, Offset], Stillness]] = {}

    def __call__(self, topic: TopicName, ends: Mapping[TopicPartition, Offset] | None) -> float:
        before = self._seen.pop(topic, None)
        if ends is None:
            return 0.0
        now = self._seconds()
        stillness = Stillness(now) if before is None or before[0] != ends else before[1]
        self._seen[topic] = ends, stillness
        return stillness.look(now)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyEffects:
    """The handlers; `clients` opens a client of a cluster, `effects` what alters topics: each handler closes its own.

    `to_source` tells what an end of the target is on the source; `still_since` for how long log ends of a topic were
    seen to be these (None: they cannot be seen now); `strangers` finds the first offset of a stretch of the target
    that the copy did not write; `wall_ms` is the clock.
    """

    manifest: Manifest
    book: CutoverBook
    copy: Copy
    effects: Callable[[], AbstractContextManager[Effects]]
    clients: Mapping[Side, Callable[[], ClusterClient]]
    memory: Memory
    to_source: Callable[[TopicPartition, Offset], Offset | str]
    still_since: Callable[[TopicName, Mapping[TopicPartition, Offset] | None], float]
    strangers: Callable[[TopicPartition, Offset, Offset], Offset | None]
    wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    seconds: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def handlers(self) -> dict[EffectKind, Handler]:
        kind = EffectKind
        return {
            kind.END_COPY: self.end_copy,
            kind.RESUME_COPY: self.resume_copy,
            kind.LIFT_HOLDS: self.lift_holds,
            kind.SET_HOLDS: self.set_holds,
            kind.FREEZE: lambda cutover, effect: self.find_ends(Side.SOURCE, cutover, effect),
            kind.UNFREEZE: carry_nothing,
            kind.FREEZE_TARGET: lambda cutover, effect: self.find_ends(Side.TARGET, cutover, effect),
            kind.UNFREEZE_TARGET: carry_nothing,
            kind.COPY_TAIL: self.copy_tail,
            kind.VERIFY_TAIL: self.verify_tail,
            kind.LIST_LATE: lambda cutover, effect: self.find_ends(Side.SOURCE, cutover, effect, settled=False),
        }

    # -- the copy

    def end_copy(self, cutover: Cutover, effect: Effect) -> Carried | Waits:
        """The last words of those who copied may lag behind what landed: the target's log end, once it stands still,
        says where a copy ended. Where everything up to a frozen end is copied, nothing can be on its way."""
        topics = cutover.topics_of(effect.scope)
        known = self.book.ended()
        self.copy.end_topics(topics)
        self._wait_for_ends(topics)
        told: dict[TopicName, Mapping[TopicPartition, Ends]] = {}
        for topic in topics:
            ends = self.copy.ends_of(topic)
            if ends is None:
                return Waits(f"what was sent for topic {topic} is answered first")
            told[topic] = ends
        frozen = cutover.ends_of(EffectKind.FREEZE)
        open_ended = [
            topic
            for topic, ends in told.items()
            if topic not in known and not all(frozen.get(tp) == each.source for tp, each in ends.items())
        ]
        landed = self._landed(open_ended) if open_ended else {}
        if isinstance(landed, Waits):
            return landed
        for topic, ends in landed.items():
            self._refuse_strangers(told[topic], ends)
        for topic, ends in landed.items():
            self.copy.correct_ends(topic, ends)
        found = {**told, **landed, **{topic: known[topic] for topic in topics if topic in known}}
        if found.keys() - known.keys():
            self.book.record_ended(found, self.wall_ms())
        return Carried(_ends({tp: each.target for ends in found.values() for tp, each in ends.items()}))

    def _wait_for_ends(self, topics: Sequence[TopicName]) -> None:
        """A moment, until whoever copies has let go: that takes less than it takes to come again."""
        deadline = self.seconds() + ENDING_SECONDS
        while any(self.copy.ends_of(topic) is None for topic in topics) and self.seconds() < deadline:
            self.sleep(_POLL_SECONDS)

    def _landed(self, topics: Sequence[TopicName]) -> dict[TopicName, dict[TopicPartition, Ends]] | Waits:
        """Where the target's logs end, and what that is on the source; or what is waited for."""
        ends = self._still_ends(topics)
        if isinstance(ends, Waits):
            return ends
        landed: dict[TopicName, dict[TopicPartition, Ends]] = {topic: {} for topic in topics}
        for tp, end in ends.items():
            place = self.to_source(tp, end)
            if isinstance(place, str):
                return Waits(f"{tp}: {place}")
            landed[tp.topic][tp] = Ends(place, end)
        return landed

    def _still_ends(self, topics: Sequence[TopicName]) -> dict[TopicPartition, Offset] | Waits:
        """Where the target's logs end, once all of them have stood still for long enough."""
        try:
            ends = find_log_ends(self.clients[Side.TARGET], Side.TARGET, topics, settled=False)
        except ClusterError:
            self._forget_stillness(topics)
            raise
        if isinstance(ends, Waits):
            self._forget_stillness(topics)
            return ends
        of_topics: dict[TopicName, dict[TopicPartition, Offset]] = {topic: {} for topic in topics}
        for tp, end in ends.items():
            of_topics[tp.topic][tp] = end
        wanted = self.copy.quiet_seconds()
        moving = [topic for topic, its in of_topics.items() if self.still_since(topic, its) < wanted]
        if moving:
            return Waits(
                f"topic {moving[0]} stands still on the target for {wanted:g} s first: something may be on its way"
            )
        return ends

    def _forget_stillness(self, topics: Sequence[TopicName]) -> None:
        """What a broker that did not answer has not read, it may read when it answers again."""
        for topic in topics:
            self.still_since(topic, None)

    def _refuse_strangers(self, told: Mapping[TopicPartition, Ends], landed: Mapping[TopicPartition, Ends]) -> None:
        """What lies behind the last words must be the copy's: else a record would count as copied that is not."""
        for tp, each in sorted(landed.items()):
            before = told.get(tp, NOTHING_COPIED).target
            stranger = self.strangers(tp, before, each.target) if before < each.target else None
            if stranger is not None:
                raise Refused(
                    f"{tp} holds a record at offset {stranger} of the target that the copy did not write",
                    hint="stop the writer on the target, then `abort`: the stop of that partition lists the records",
                )

    def resume_copy(self, cutover: Cutover, effect: Effect) -> Carried | Waits:
        topics = cutover.topics_of(effect.scope)
        if self.book.ended().keys() & set(topics):
            self.book.forget_ended(topics)
        self.copy.resume_topics(topics)
        return Carried()

    # -- holds

    def lift_holds(self, cutover: Cutover, effect: Effect) -> Carried | Waits:
        with self.effects() as effects:
            return _altered(effects.restore_holds(cutover.topics_of(effect.scope)))

    def set_holds(self, cutover: Cutover, effect: Effect) -> Carried | Waits:
        with self.effects() as effects:
            return _altered(effects.hold_all_again(cutover.topics_of(effect.scope)))

    # -- where logs end

    def find_ends(self, side: Side, cutover: Cutover, effect: Effect, *, settled: bool = True) -> Carried | Waits:
        """What `find_log_ends` finds, of the target's topics those that were promoted."""
        topics = cutover.topics_of(effect.scope)
        if side is Side.TARGET:
            topics = tuple(topic for topic in topics if topic in cutover.promoted_topics)
        ends = find_log_ends(self.clients[side], side, topics, settled=settled)
        return ends if isinstance(ends, Waits) else Carried(_ends(ends))

    # -- the rest

    def copy_tail(self, cutover: Cutover, effect: Effect) -> Carried | Waits:
        missing = self._missing(cutover, effect)
        if missing:
            return Waits(missing)
        return Carried()

    def _missing(self, cutover: Cutover, effect: Effect) -> str:
        """What of the frozen topics is not copied yet; empty if everything is."""
        frozen = cutover.ends_of(EffectKind.FREEZE)
        for topic in cutover.topics_of(effect.scope):
            copied = self.copy.positions_of(topic)
            for tp in sorted(each for each in frozen if each.topic == topic):
                position = copied.get(tp)
                if position is None or position.source < frozen[tp]:
                    told = "nothing" if position is None else f"{position.source:,}"
                    return f"{tp}: {told} of {frozen[tp]:,} is copied"
        return ""

    def verify_tail(self, cutover: Cutover, effect: Effect) -> Carried | Waits:
        topics = set(cutover.topics_of(effect.scope))
        ends = {tp: end for tp, end in cutover.ends_of(EffectKind.FREEZE).items() if tp.topic in topics}
        missing = verify_here(self.manifest, self.memory, ends)
        return Waits(missing) if missing else Carried()


def _ends(ends: Mapping[TopicPartition, Offset]) -> tuple[End, ...]:
    return tuple(End(tp.topic, tp.partition, end) for tp, end in sorted(ends.items()))


def _altered(outcomes: Mapping[TopicName, AlterOutcome]) -> Carried | Waits:
    """What was refused comes first: nothing that is waited for would mend it."""
    for outcome in outcomes.values():
        if isinstance(outcome, Failed):
            raise Refused(outcome.reason)
    for topic, outcome in outcomes.items():
        if isinstance(outcome, Later):
            return Waits(f"topic {topic}: {outcome.reason}")
    return Carried()
