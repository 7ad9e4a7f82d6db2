"""Effects on target topics are journaled: decided, carried out, ended, each only after the step before is certain.

Whatever ends a process between two steps leaves an effect that is planned. It is carried out again, to the same end:
by the one who decided it, who comes again after `Later`, or by `resume`. An effect is ended when the target shows it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

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
from kmigrate.topics.put_hold import PutHold, put_hold
from kmigrate.topics.restore import RestoreHold, restore_hold

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
        planned = self._planned(RESTORE_HOLD, topic)
        if planned:
            return self._carry_out(planned[0])
        if topic in restored_topics(self._store):
            return Altered(())
        try:
            intended = self._intended(topic)
        except ClusterError as error:
            return Later(str(error))
        if intended.settings is None:
            return Failed(_refusal(topic, intended.origin))
        payload = {"origin": intended.origin.value, "settings": dict(intended.settings)}
        return self._carry_out(self._store.plan_effect(RESTORE_HOLD, topic, payload))

    def hold_again(self, topic: TopicName) -> AlterOutcome:
        """Puts a topic under hold again whose hold has ended; what it is to become afterwards stays as it was.

        A restoration that was decided and has not ended is brought to its end first.
        """
        for entry in self._planned(RESTORE_HOLD, topic):
            outcome = self._carry_out(entry)
            if not isinstance(outcome, Altered):
                return outcome
        planned = self._planned(HOLD_AGAIN, topic)
        if planned:
            return self._carry_out(planned[0])
        if topic in self._store.held():
            return Altered(())
        restored = [each for each in self._store.effects() if (each.kind, each.topic) == (RESTORE_HOLD, topic)]
        if not restored:
            return Failed(f"topic {topic} was never under hold")
        return self._carry_out(self._store.plan_effect(HOLD_AGAIN, topic, restored[-1].payload))

    def put_hold(self, topic: TopicName, source_max_bytes: int | None) -> AlterOutcome:
        """Puts a topic that was there before under hold; what it is to become again must have been recorded."""
        if self._is_over(topic):
            return Failed(f"it is not recorded what topic {topic} is to become again, or its hold is about to end")
        planned = self._planned(PUT_HOLD, topic)
        if planned:
            return self._carry_out(planned[0])
        return self._carry_out(self._store.plan_effect(PUT_HOLD, topic, {"bytes": source_max_bytes}))

    def raise_limit(self, topic: TopicName, wanted_bytes: int) -> AlterOutcome:
        """Lets a topic under hold take batches of so many bytes."""
        if self._is_over(topic):
            return Failed(f"topic {topic} is not under hold: its {MAX_MESSAGE_BYTES} is not ours to raise")
        planned = [each for each in self._planned(RAISE_LIMIT, topic) if each.payload["bytes"] == wanted_bytes]
        if planned:
            return self._carry_out(planned[0])
        return self._carry_out(self._store.plan_effect(RAISE_LIMIT, topic, {"bytes": wanted_bytes}))

    def resume(self) -> dict[int, AlterOutcome]:
        """Carries out what was decided and has not ended, in the order of the decisions: outcomes by effect id."""
        planned = [entry for entry in self._store.effects() if not entry.is_done and entry.kind in _KINDS]
        return {entry.id: self._carry_out(entry) for entry in planned}

    def _planned(self, kind: str, topic: TopicName) -> list[EffectEntry]:
        return [each for each in self._store.effects() if not each.is_done and (each.kind, each.topic) == (kind, topic)]

    def _intended(self, topic: TopicName) -> Intended:
        recorded = self._store.intended()
        if topic in recorded and recorded[topic].settings is not None:
            return recorded[topic]
        return describe_intended(self._source, self._target, [topic], recorded=recorded, untouched=())[topic]

    def _is_over(self, topic: TopicName) -> bool:
        """Whether the topic's hold has ended, or is about to."""
        return topic not in self._store.held() or bool(self._planned(RESTORE_HOLD, topic))

    def _carry_out(self, entry: EffectEntry) -> AlterOutcome:
        if entry.kind in (RAISE_LIMIT, PUT_HOLD) and self._is_over(entry.topic):
            self._store.end_effect(entry)
            return Altered(())
        if not self._may_write():
            return Later(WAITING_FOR_LEASE)
        try:
            outcome = self._act(entry)
        except ClusterError as error:
            return Later(str(error))
        if isinstance(outcome, Altered):
            if entry.kind == HOLD_AGAIN:
                intended = Intended(origin=Origin(entry.payload["origin"]), settings=entry.payload["settings"])
                self._store.record_intended({entry.topic: intended})
            self._store.end_effect(entry, ends_hold=entry.kind == RESTORE_HOLD)
            log.info("%s of topic %s: %s", entry.kind, entry.topic, ", ".join(map(str, outcome.alterations)) or "done")
        return outcome

    def _act(self, entry: EffectEntry) -> AlterOutcome:
        if entry.kind == RESTORE_HOLD:
            return restore_hold(self._target, RestoreHold(topic=entry.topic, settings=entry.payload["settings"]))
        if entry.kind == HOLD_AGAIN:
            return put_hold(self._target, PutHold(topic=entry.topic, source_max_bytes=None))
        if entry.kind == PUT_HOLD:
            return put_hold(self._target, PutHold(topic=entry.topic, source_max_bytes=entry.payload["bytes"]))
        assert entry.kind == RAISE_LIMIT, f"effects of kind {entry.kind} are not known"
        return raise_limit(self._target, RaiseLimit(topic=entry.topic, bytes=entry.payload["bytes"]))


def restored_topics(store: Store) -> set[TopicName]:
    """Topics whose hold has ended, and that are not under another one since."""
    restored = {entry.topic for entry in store.effects() if entry.is_done and entry.kind == RESTORE_HOLD}
    return restored - store.intended().keys()


def _refusal(topic: TopicName, origin: Origin) -> str:
    return (
        f"it is not known what topic {topic} is to become on the target, and nothing was altered:"
        f" {_WHY_UNKNOWN[origin]}; set {', '.join(HELD_KEYS)} there as they should be"
    )
