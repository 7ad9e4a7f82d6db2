"""Effects that keep applications from writing: fences on either side, confirmed for as long as they are to stand.

Rule: as in `carrying.py`, and in `runner/fences.py`: a process of its own lifts a fence that nobody confirms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.principal import principal_of
from kmigrate.errors import Refused
from kmigrate.kafka_types import Side, TopicName
from kmigrate.manifest import Manifest
from kmigrate.runner.cutover.carrying import Carried, Handler, Waits
from kmigrate.runner.cutover.waves import fence_kind_of
from kmigrate.runner.fence_facts import look_before_fencing
from kmigrate.runner.fence_watch import start_watch
from kmigrate.runner.fences import FenceOrder, confirm_fence, enter_fence, find_same, put_fence
from kmigrate.runner.fencing import Fencer
from kmigrate.runner.reach import Reach
from kmigrate.schemes.cutover import Cutover
from kmigrate.schemes.effects import Effect, EffectKind
from kmigrate.schemes.steps import Gate
from kmigrate.security.fence import EVERYONE, Fence, FenceKind
from kmigrate.security.fence_plan import NO_FENCE_HINT, FencePlan, FenceWish, plan_fence
from kmigrate.state.fence_book import FenceBook

BEYOND_SECONDS = 300.0
"""How much longer a fence stands than writers may be kept waiting, should nobody confirm it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceEffects:
    """The handlers. `verify_ahead` compares what is copied of some topics, while their writers do not wait yet."""

    manifest: Manifest
    folder: Path
    fences: FenceBook
    clients: Mapping[Side, Callable[[], ClusterClient]]
    verify_ahead: Callable[[Iterable[TopicName]], None]

    def handlers(self) -> dict[EffectKind, Handler]:
        return {
            EffectKind.PUT_UP_FENCE: lambda cutover, effect: self.put(Side.SOURCE, cutover, effect),
            EffectKind.LIFT_FENCE: lambda cutover, effect: self.lift(Side.SOURCE, cutover, effect),
            EffectKind.PUT_UP_TARGET_FENCE: lambda cutover, effect: self.put(Side.TARGET, cutover, effect),
            EffectKind.LIFT_TARGET_FENCE: lambda cutover, effect: self.lift(Side.TARGET, cutover, effect),
        }

    def put(self, side: Side, cutover: Cutover, effect: Effect) -> Carried | Waits:
        kind = fence_kind_of(self.manifest, cutover.wave.name) or FenceKind.ACL
        settings = self.manifest.source if side is Side.SOURCE else self.manifest.target
        client = self.clients[side]()
        try:
            metadata = client.metadata(None)
            order = FenceOrder(
                side=side,
                kind=kind,
                topics=tuple(sorted(self._topics(side, cutover, effect))),
                principals=(EVERYONE,),
                cluster_id=metadata.cluster_id,
                bootstrap=",".join(map(str, settings.bootstrap)),
                is_secured=settings.security.tls is not None or settings.security.sasl is not None,
                period_seconds=cutover.wave.limits.freeze_seconds + BEYOND_SECONDS,
            )
            if not order.topics:
                return Carried()
            plan = FencePlan()
            if find_same(self.fences, order) is None:
                facts = look_before_fencing(
                    client,
                    metadata,
                    order.topics,
                    order.kind,
                    settings=Reach.of(side, settings, self.manifest.name).settings,
                    ours=principal_of(settings.security).name,
                    bootstrap=order.bootstrap,
                    we_write=False,  # a copy into these topics has ended, or lifts the fence first
                )
                wish = FenceWish(
                    kind=kind,
                    acks_all=kind is FenceKind.MIN_ISR,
                    everyone_without_rules=self.manifest.cutover.everyone_without_rules,
                )
                plan = plan_fence(wish, facts)
                if plan.objections:
                    raise Refused(
                        f"there is no fence on the {side}, because {'; '.join(plan.objections)}",
                        hint=NO_FENCE_HINT,
                    )
            entered = enter_fence(self.fences, order, plan)
            arguments = ["-f", str(self.manifest.path.absolute()), "--state", str(self.folder.parent.absolute())]

            def verify() -> None:
                if side is Side.SOURCE and not entered.stood and Gate.TAIL_VERIFIED in _gates_ahead(cutover):
                    self.verify_ahead(order.topics)

            put_fence(self.fences, client, entered, lambda: start_watch(self.fences, self.folder, arguments), verify)
        finally:
            client.close()
        return Carried()

    def lift(self, side: Side, cutover: Cutover, effect: Effect) -> Carried | Waits:
        topics = set(cutover.topics_of(effect.scope))
        for fence in self._standing(side, topics):
            if not set(fence.topics) <= topics:
                continue  # somebody else's
            client = self.clients[side]()
            try:
                Fencer(client, self.fences).lift(fence.number, f"the cutover of wave {cutover.wave.name}")
            finally:
                client.close()
        return Carried()

    def confirm(self, cutover: Cutover) -> None:
        """Says of the fences of a cutover that they are to stand on."""
        for side, kind in ((Side.SOURCE, EffectKind.PUT_UP_FENCE), (Side.TARGET, EffectKind.PUT_UP_TARGET_FENCE)):
            topics = {topic for topic in cutover.wave.topics if cutover.is_in_force(kind, topic)}
            for fence in self._standing(side, topics):
                if fence.is_wanted:
                    confirm_fence(self.fences, fence.number)

    def _standing(self, side: Side, topics: set[TopicName]) -> Iterator[Fence]:
        return (each for each in self.fences.standing() if each.side is side and topics & set(each.topics))

    def _topics(self, side: Side, cutover: Cutover, effect: Effect) -> set[TopicName]:
        topics = set(cutover.topics_of(effect.scope))
        return topics if side is Side.SOURCE else topics & cutover.promoted_topics


def _gates_ahead(cutover: Cutover) -> Iterator[Gate]:
    """What must hold before the steps that follow are left."""
    return (gate for stage in cutover.stages[cutover.stage :] for gate in stage.step.gates)
