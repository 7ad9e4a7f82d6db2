"""Effects on target topics are journaled: decided, carried out, ended, each only after the step before is certain.

Whatever ends a process between two steps leaves an effect that is planned. It is carried out again, to the same end:
by the one who decided it, who comes again after `Later`, or by `resume`. An effect is ended when the target shows it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from kmigrate.cluster.client import ClusterClient
from kmigrate.copy.copier import WAITING_FOR_LEASE
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import TopicName
from kmigrate.state.store import EffectEntry, Store
from kmigrate.topics.alter import Altered, AlterOutcome
from kmigrate.topics.create import Failed, Later
from kmigrate.topics.describe import describe_intended
from kmigrate.topics.hold import HELD_KEYS, MAX_MESSAGE_BYTES
from kmigrate.topics.intended import Intended, Origin
from kmigrate.topics.limit import RaiseLimit, raise_limit
from kmigrate.topics.put_hold import PutHold, put_holds
from kmigrate.topics.restore import RestoreHold, restore_holds

log = logging.getLogger(__name__)

RESTORE_HOLD = "restore-hold"
RAISE_LIMIT = "raise-limit"
HOLD_AGAIN = "hold-again"
PUT_HOLD = "put-hold"
_KINDS = (RESTORE_HOLD, RAISE_LIMIT, HOLD_AGAIN, PUT_HOLD)
"""Those on the target; what is done to the source's retention is its command's (`runner/retention.py`)."""

_WHY_UNKNOWN = {
    Origin.SOURCE: "the source does not tell its settings: the topic is gone, or the right DESCRIBE_CONFIGS is missing",
    Origin.TARGET: "it was made by hand, and the target did not tell its settings when it was first seen",
    Origin.LOST: "local state was lost, and with it whether it was made by hand and with which settings",
}


class Effects:
    """Decides effects and carries them out; used by one thread."""

    def __init__(
        self, store: Store, source: ClusterClient, target: ClusterClient, may_write: Callable[[], bool]
    ) -> None:
        """`may_write` says whether the lease is granted now; it is asked before the target is changed."""
        self._store = store
        self._source = source
        self._target = target
        self._may_write = may_write

    def restore_hold(self, topic: TopicName) -> AlterOutcome:
        """Gives a topic its intended settings and ends its hold; only when nothing more is copied into it.

        A topic whose hold has ended is left as it is now. One of which it is not known what it is to become is
        refused, and nothing is decided.
        """
        return self.restore_holds([topic])[topic]

    def restore_holds(self, topics: Iterable[TopicName]) -> dict[TopicName, AlterOutcome]:
        """The same for many topics, in the steps of one."""
        wanted = dict.fromkeys(topics)
        planned = self._planned(RESTORE_HOLD, wanted)
        restored = restored_topics(self._store)
        outcomes: dict[TopicName, AlterOutcome] = {
            topic: Altered(()) for topic in wanted if topic in restored and topic not in planned
        }
        payloads: dict[str, Mapping[str, object]] = {}
        left = [topic for topic in wanted if topic not in planned and topic not in outcomes]
        try:
            intended = self._intended(left)
        except ClusterError as error:
            return dict.fromkeys(wanted, Later(str(error)))
        for topic, its in intended.items():
            if its.settings is None:
                outcomes[topic] = Failed(_refusal(topic, its.origin))
            else:
                payloads[topic] = _payload(its)
        entries = [*planned.values(), *self._plan(RESTORE_HOLD, payloads)]
        return outcomes | self._carry_out_together(entries)

    def hold_again(self, topic: TopicName) -> AlterOutcome:
        """Puts a topic under hold again whose hold has ended; what it is to become afterwards stays as it was.

        A restoration that was decided and has not ended is brought to its end first; one that the target refuses is
        withdrawn.
        """
        return self.hold_all_again([topic])[topic]

    def hold_all_again(self, topics: Iterable[TopicName]) -> dict[TopicName, AlterOutcome]:
        """The same for many topics, in the steps of one."""
        wanted = dict.fromkeys(topics)
        restorations = self._planned(RESTORE_HOLD, wanted)
        ended = self._carry_out_together(restorations.values())
        refused = [restorations[topic] for topic, each in ended.items() if isinstance(each, Failed)]
        outcomes: dict[TopicName, AlterOutcome] = {
            topic: each for topic, each in ended.items() if isinstance(each, Later)
        }
        planned = self._planned(HOLD_AGAIN, [topic for topic in wanted if topic not in outcomes])
        held = {*self._store.held()} - {each.topic for each in refused}  # of those one attempt may have come to its end
        intended = self._store.intended()
        restored = {each.topic: each.payload for each in self._store.effects() if each.kind == RESTORE_HOLD}
        payloads: dict[str, Mapping[str, object]] = {}
        for topic in wanted:
            if topic in outcomes or topic in planned:
                continue
            if topic in held:
                outcomes[topic] = Altered(())
            elif topic not in restored:
                outcomes[topic] = Failed(f"topic {topic} was never under hold")
            else:
                payloads[topic] = _payload(intended[topic]) if topic in intended else restored[topic]
        entries = [*planned.values(), *self._plan(HOLD_AGAIN, payloads)]
        if refused:
            self._store.withdraw_effects(refused)
        return outcomes | self._carry_out_together(entries)

    def put_hold(self, topic: TopicName, source_max_bytes: int | None) -> AlterOutcome:
        """Puts a topic that was there before under hold; what it is to become again must have been recorded."""
        if self._is_over(topic):
            return Failed(f"it is not recorded what topic {topic} is to become again, or its hold is about to end")
        planned = self._planned(PUT_HOLD, [topic])
        if planned:
            return self._carry_out(planned[topic])
        return self._carry_out(self._store.plan_effect(PUT_HOLD, topic, {"bytes": source_max_bytes}))

    def raise_limit(self, topic: TopicName, wanted_bytes: int) -> AlterOutcome:
        """Lets a topic under hold take batches of so many bytes."""
        if self._is_over(topic):
            return Failed(f"topic {topic} is not under hold: its {MAX_MESSAGE_BYTES} is not ours to raise")
        planned = next(
            (each for each in self._waiting(RAISE_LIMIT, topic) if each.payload["bytes"] == wanted_bytes), None
        )
        if planned is not None:
            return self._carry_out(planned)
        return self._carry_out(self._store.plan_effect(RAISE_LIMIT, topic, {"bytes": wanted_bytes}))

    def resume(self) -> dict[int, AlterOutcome]:
        """Carries out what was decided and has not ended, in the order of the decisions: outcomes by effect id."""
        planned = [entry for entry in self._store.effects() if not entry.is_done and entry.kind in _KINDS]
        return {entry.id: self._carry_out(entry) for entry in planned}

    def _waiting(self, kind: str, topic: TopicName) -> list[EffectEntry]:
        return [each for each in self._store.effects() if not each.is_done and (each.kind, each.topic) == (kind, topic)]

    def _planned(self, kind: str, topics: Collection[TopicName]) -> dict[TopicName, EffectEntry]:
        """The effect of this kind that was decided and has not ended, of each topic that has one; the first one."""
        found: dict[TopicName, EffectEntry] = {}
        for each in self._store.effects():
            if not each.is_done and each.kind == kind and each.topic in topics:
                found.setdefault(each.topic, each)
        return found

    def _plan(self, kind: str, payloads: Mapping[str, Mapping[str, object]]) -> list[EffectEntry]:
        return self._store.plan_effects(kind, payloads) if payloads else []

    def _intended(self, topics: Sequence[TopicName]) -> dict[TopicName, Intended]:
        recorded = self._store.intended()
        known = {
            topic: recorded[topic] for topic in topics if topic in recorded and recorded[topic].settings is not None
        }
        lost = [topic for topic in topics if topic not in known]
        if not lost:
            return known
        return known | describe_intended(self._source, self._target, lost, recorded=recorded, untouched=())

    def _is_over(self, topic: TopicName) -> bool:
        """Whether the topic's hold has ended, or is about to."""
        return topic not in self._store.held() or bool(self._planned(RESTORE_HOLD, [topic]))

    def _carry_out(self, entry: EffectEntry) -> AlterOutcome:
        if entry.kind in (RAISE_LIMIT, PUT_HOLD) and self._is_over(entry.topic):
            self._store.end_effect(entry)
            return Altered(())
        return self._carry_out_together([entry])[entry.topic]

    def _carry_out_together(self, effects: Iterable[EffectEntry]) -> dict[TopicName, AlterOutcome]:
        """Carries effects of one kind out, with the same requests for all, and ends those that the target shows."""
        entries = {each.topic: each for each in effects}
        if not entries:
            return {}
        if not self._may_write():
            return dict.fromkeys(entries, Later(WAITING_FOR_LEASE))
        try:
            outcomes = self._act([*entries.values()])
        except ClusterError as error:
            return dict.fromkeys(entries, Later(str(error)))
        done = [each for topic, each in entries.items() if isinstance(outcomes[topic], Altered)]
        if done:
            self._end(done)
        for each in done:
            alterations = outcomes[each.topic]
            assert isinstance(alterations, Altered)
            told = ", ".join(map(str, alterations.alterations)) or "done"
            log.info("%s of topic %s: %s", each.kind, each.topic, told)
        return outcomes

    def _end(self, done: Sequence[EffectEntry]) -> None:
        kind = done[0].kind
        if kind == HOLD_AGAIN:
            self._store.record_intended(
                {
                    each.topic: Intended(origin=Origin(each.payload["origin"]), settings=each.payload["settings"])
                    for each in done
                }
            )
        self._store.end_effects(done, ends_hold=kind == RESTORE_HOLD)

    def _act(self, entries: Sequence[EffectEntry]) -> dict[TopicName, AlterOutcome]:
        kind = entries[0].kind
        assert all(each.kind == kind for each in entries), "effects of one kind are carried out together"
        if kind == RESTORE_HOLD:
            wanted = [RestoreHold(topic=each.topic, settings=each.payload["settings"]) for each in entries]
            return restore_holds(self._target, wanted)
        if kind == HOLD_AGAIN:
            return put_holds(self._target, [PutHold(topic=each.topic, source_max_bytes=None) for each in entries])
        if kind == PUT_HOLD:
            holds = [PutHold(topic=each.topic, source_max_bytes=each.payload["bytes"]) for each in entries]
            return put_holds(self._target, holds)
        assert kind == RAISE_LIMIT, f"effects of kind {kind} are not known"
        limits = [RaiseLimit(topic=each.topic, bytes=each.payload["bytes"]) for each in entries]
        return {each.topic: raise_limit(self._target, each) for each in limits}


def restored_topics(store: Store) -> set[TopicName]:
    """Topics whose hold has ended, and that are not under another one since."""
    restored = {entry.topic for entry in store.effects() if entry.is_done and entry.kind == RESTORE_HOLD}
    return restored - store.intended().keys()


def _payload(intended: Intended) -> dict[str, object]:
    """What is kept of what a topic is to become, for its restoration and for a hold that is set again."""
    settings = None if intended.settings is None else dict(intended.settings)
    return {"origin": intended.origin.value, "settings": settings}


def _refusal(topic: TopicName, origin: Origin) -> str:
    return (
        f"it is not known what topic {topic} is to become on the target, and nothing was altered:"
        f" {_WHY_UNKNOWN[origin]}; set {', '.join(HELD_KEYS)} there as they should be"
    )
