"""Effects of the way back: what the target gets is copied to the source, compared there, and groups go back with it.

Rule: as in `carrying.py`. The copy back is an owner of its own (`runner/back.py`); here it is begun, asked, and ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kmigrate.errors import KmigrateError
from kmigrate.kafka_types import Offset, TopicName, TopicPartition
from kmigrate.manifest import Manifest
from kmigrate.offsets.offset_map import Ends
from kmigrate.runner.back import ReverseCopy
from kmigrate.runner.back_manifest import derive
from kmigrate.runner.cutover.carrying import Carried, Handler, Waits, carry_nothing
from kmigrate.runner.cutover.observing import Back
from kmigrate.runner.cutover.verifying import verify_here
from kmigrate.runner.verify import Memory
from kmigrate.runner.verify_partition import Mode
from kmigrate.schemes.cutover import Cutover
from kmigrate.schemes.effects import Effect, EffectKind

LiftFence = Callable[[Cutover, Effect], Carried | Waits]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackEffects:
    """The handlers. `memory` is what the copy back remembers; `lift_fence` frees the source's topics of a fence.

    `ended_ms` is when the copy of a topic ended: until then nothing but the copy had written to the target.
    """

    manifest: Manifest
    back: ReverseCopy
    memory: Memory
    ends_of: Callable[[TopicName], Mapping[TopicPartition, Ends] | None]
    ended_ms: Callable[[TopicName], int]
    lift_fence: LiftFence

    def handlers(self) -> dict[EffectKind, Handler]:
        kind = EffectKind
        return {
            kind.BEGIN_REVERSE_COPY: self.begin,
            kind.END_REVERSE_COPY: self.end,
            kind.COPY_BACK: self.copy_back,
            kind.VERIFY_BACK: self.verify_back,
            kind.HAND_BACK: carry_nothing,
            kind.TAKE_AGAIN: carry_nothing,
        }

    def begin(self, cutover: Cutover, effect: Effect) -> Carried | Waits:
        """A fence on the source would keep this copy away, too: it is lifted first, and the source is watched."""
        self.lift_fence(cutover, effect)
        ends: dict[TopicPartition, Offset] = {}
        for topic in cutover.topics_of(effect.scope):
            if topic not in cutover.promoted_topics:
                continue
            known = self.ends_of(topic)
            if known is None:
                return Waits(f"the copy of topic {topic} has not ended yet")
            ends |= {tp: each.source for tp, each in known.items()}
        if ends:
            even_ms = min(self.ended_ms(topic) for topic in {tp.topic for tp in ends})
            self.back.begin(ends, even_ms=even_ms)
        return Carried()

    def end(self, cutover: Cutover, effect: Effect) -> Carried | Waits:
        self.back.end(cutover.topics_of(effect.scope))
        return Carried()

    def copy_back(self, cutover: Cutover, effect: Effect) -> Carried | Waits:
        frozen = cutover.ends_of(EffectKind.FREEZE_TARGET)
        stops = self.back.stops()
        copied = self.back.positions()
        for tp, end in sorted(frozen.items()):
            if tp in stops:
                raise KmigrateError(f"the copy back of {tp} is stopped: {stops[tp]}", hint="mend it, or `abort`")
            if copied.get(tp, -1) < end:
                told = "nothing" if tp not in copied else f"{copied[tp]:,}"
                trouble = f"; {self.back.trouble}" if self.back.trouble else ""
                return Waits(f"{tp}: {told} of {end:,} is on the source again{trouble}")
        return Carried()

    def verify_back(self, cutover: Cutover, effect: Effect) -> Carried | Waits:
        frozen = cutover.ends_of(EffectKind.FREEZE_TARGET)
        topics = sorted({tp.topic for tp in frozen})
        manifest = derive(self.manifest, topics)
        missing = verify_here(manifest, self.memory, frozen)
        return Waits(missing) if missing else Carried()

    def seen(self) -> dict[TopicPartition, Back]:
        """How far everything is back, and compared; for the observer."""
        copied, stops = self.back.positions(), self.back.stops()
        verified = {
            (each.topic, each.partition): Offset(each.end)
            for each in self.memory.verifications(Mode.RECORDS)
            if each.end is not None and each.difference is None
        }
        return {
            tp: Back(
                copied.get(tp),
                verified.get((tp.topic, tp.partition)),
                f"{stops[tp].kind.value}, of the copy back" if tp in stops else "",
            )
            for tp in self.back.begun()
        }

    def keep_alive(self) -> None:
        """A process that died is started again, from where the logs say."""
        if self.back.begun() and not self.back.is_running:
            self.back.begin({})
