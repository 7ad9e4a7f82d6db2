"""Effects of the way back: what the target gets is copied to the source, compared there, and groups go back with it.

Rule: as in `carrying.py`. The copy back is an owner of its own (`runner/back.py`); here it is begun, asked, and ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kmigrate.errors import KmigrateError
from kmigrate.kafka_types import Offset, Side, TopicName, TopicPartition
from kmigrate.manifest import Manifest
from kmigrate.offsets.offset_map import Ends
from kmigrate.runner.back import ReverseCopy
from kmigrate.runner.back_manifest import derive
from kmigrate.runner.cutover.carrying import Carried, Handler, Waits
from kmigrate.runner.cutover.observing import Back
from kmigrate.runner.cutover.verifying import verify_here
from kmigrate.runner.start import Reach
from kmigrate.runner.verify import Memory
from kmigrate.runner.verify_partition import Mode
from kmigrate.schemes.cutover import Cutover
from kmigrate.schemes.effects import Effect, EffectKind

LiftFence = Callable[[Cutover, Effect], Carried | Waits]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackEffects:
    """The handlers. `memory` is what the copy back remembers; `lift_fence` frees the source's topics of a fence."""

    manifest: Manifest
    back: ReverseCopy
    memory: Memory
    ends_of: Callable[[TopicName], Mapping[TopicPartition, Ends] | None]
    lift_fence: LiftFence

    def handlers(self) -> dict[EffectKind, Handler]:
        kind = EffectKind
        return {
            kind.BEGIN_REVERSE_COPY: self.begin,
            kind.END_REVERSE_COPY: self.end,
            kind.COPY_BACK: self.copy_back,
            kind.VERIFY_BACK: self.verify_back,
            kind.HAND_BACK: _nothing,
            kind.TAKE_AGAIN: _nothing,
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
            self.back.begin(ends)
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
        reach = {
            Side.SOURCE: Reach.of(Side.SOURCE, manifest.source, manifest.name),
            Side.TARGET: Reach.of(Side.TARGET, manifest.target, manifest.name),
        }
        for topic in topics:
            ends = {tp.partition: end for tp, end in frozen.items() if tp.topic == topic}
            missing = verify_here(manifest, self.memory, reach, topic, ends)
            if missing:
                return Waits(missing)
        return Carried()

    def seen(self) -> dict[TopicPartition, Back]:
        """How far everything is back, and compared; for the observer."""
        copied = self.back.positions()
        if not copied:
            return {}
        try:
            verified = {
                (each.topic, each.partition): Offset(each.end)
                for each in self.memory.verifications(Mode.RECORDS)
                if each.end is not None and each.difference is None
            }
        except KmigrateError:
            verified = {}
        return {tp: Back(position, verified.get((tp.topic, tp.partition))) for tp, position in copied.items()}


def _nothing(_cutover: Cutover, _effect: Effect) -> Carried | Waits:
    """The decision itself is all there is to it."""
    return Carried()
