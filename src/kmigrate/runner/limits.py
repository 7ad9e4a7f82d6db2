"""Raises the limits of target topics that refused a batch, away from the owner's loop, and says how that went.

Wishes come up with the workers' progress: of each topic the largest one counts, so that many partitions cost one
effect. A refusal is kept until an operator answers a stop of the topic, or it is created anew.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from kmigrate.copy.orders import Limit
from kmigrate.copy.progress import PartitionProgress
from kmigrate.kafka_types import TopicName
from kmigrate.runner.effects import RAISE_LIMIT, Effects
from kmigrate.runner.errand import Errand
from kmigrate.state.store import EffectEntry
from kmigrate.topics.alter import Altered, AlterOutcome
from kmigrate.topics.create import Failed

log = logging.getLogger(__name__)

LATER_SECONDS = 1.0
NOT_RAISED = Limit()


class Limits:
    """The wishes and outcomes of every topic; used by the owner's thread."""

    def __init__(self, effects: Effects, entries: Iterable[EffectEntry]) -> None:
        """`entries` are the effects of earlier runs: a raise that was planned and not ended is brought to its end."""
        self._effects = effects
        self._wishes: dict[TopicName, int] = {}
        self._known: dict[TopicName, Limit] = {}
        self._under_way: tuple[Mapping[TopicName, int], Errand[Mapping[TopicName, AlterOutcome]]] | None = None
        self._rest_until = 0.0
        for entry in entries:
            if entry.kind == RAISE_LIMIT and not entry.is_done:
                self._wish(entry.topic, entry.payload["bytes"])

    def get(self, topic: TopicName) -> Limit:
        """How far the topic's limit was raised, and what was refused."""
        return self._known.get(topic, NOT_RAISED)

    def on_progress(self, progress: PartitionProgress) -> None:
        """Notes what a partition wishes for."""
        if progress.limit_wish_bytes:
            self._wish(progress.partition.topic, progress.limit_wish_bytes)

    def _wish(self, topic: TopicName, wanted_bytes: int) -> None:
        known = self.get(topic)
        if wanted_bytes > known.raised_bytes and not 0 < known.refused_bytes <= wanted_bytes:
            self._wishes[topic] = max(wanted_bytes, self._wishes.get(topic, 0))

    def forget(self, topic: TopicName) -> None:
        """What was known of the topic counts no more: an operator answered, or it is another one."""
        self._wishes.pop(topic, None)
        self._known.pop(topic, None)

    def step(self, now: float) -> bool:
        """Takes what an errand brought, and begins one if something is wished for; returns whether something is new."""
        changed = False
        if self._under_way is not None:
            if not self._under_way[1].done:
                return False
            wishes, errand = self._under_way
            self._under_way = None
            for topic, outcome in errand.result().items():
                changed |= self._adopt(topic, wishes[topic], outcome, now)
        if self._wishes and now >= self._rest_until:
            wanted = dict(self._wishes)
            self._under_way = wanted, Errand(lambda: self._raise(wanted), "limits")
        return changed

    def _raise(self, wishes: Mapping[TopicName, int]) -> Mapping[TopicName, AlterOutcome]:
        return {topic: self._effects.raise_limit(topic, wanted) for topic, wanted in wishes.items()}

    def _adopt(self, topic: TopicName, wanted_bytes: int, outcome: AlterOutcome, now: float) -> bool:
        wish = self._wishes.get(topic, 0)
        if not wish:
            return False  # forgotten meanwhile
        known = self.get(topic)
        if isinstance(outcome, Altered):
            known = known._replace(raised_bytes=max(known.raised_bytes, wanted_bytes))
        elif isinstance(outcome, Failed):
            log.warning("topic %s on the target cannot take %d bytes: %s", topic, wanted_bytes, outcome.reason)
            known = known._replace(refused_bytes=wanted_bytes, why=outcome.reason)
        else:
            log.info("topic %s on the target is to take %d bytes: %s", topic, wanted_bytes, outcome.reason)
            self._rest_until = now + LATER_SECONDS
            return False
        self._known[topic] = known
        if wish == wanted_bytes:
            del self._wishes[topic]
        else:
            self._wish(topic, self._wishes.pop(topic))
        return True
