"""How the source cleans its topics, and how large batches may be: read first of all, and about every minute.

`decide_cleaning` is pure. `CleaningWatch` asks away from the owner's loop, all topics together. What was once told is
kept while the source tells nothing; a topic of which it never told anything is not guarded, and named.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from kmigrate.cluster.client import ClusterClient
from kmigrate.copy.orders import DEFAULT_BATCH_BYTES, UNKNOWN_TIME_MS
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import TopicName
from kmigrate.runner.errand import Errand
from kmigrate.topics.describe import describe_topics

log = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
LATER_SECONDS = 5.0
"""How long after a look that failed, and how often new topics are asked for."""
_NAMED = 3
CLEANUP_POLICY = "cleanup.policy"
DELETE_RETENTION_MS = "delete.retention.ms"
MAX_MESSAGE_BYTES = "max.message.bytes"
RETENTION_MS = "retention.ms"


class Cleaning(NamedTuple):
    """How long a topic keeps tombstones (None: it is not compacted), when it was last seen not to be compacted, and how
    large a batch may be there."""

    delete_retention_ms: int | None
    free_ms: int = UNKNOWN_TIME_MS
    max_message_bytes: int = DEFAULT_BATCH_BYTES

    @property
    def free_ms_if_compacted(self) -> int:
        """Since when it may be cleaned; -1 if it is not, or always was."""
        return UNKNOWN_TIME_MS if self.delete_retention_ms is None else self.free_ms


class CleaningSeen(NamedTuple):
    """What the source told about these topics; asked at `asked_ms`. None: it does not tell."""

    asked_ms: int
    settings: Mapping[TopicName, Mapping[str, str] | None]


def decide_cleaning(before: Cleaning | None, settings: Mapping[str, str] | None, asked_ms: int) -> Cleaning | None:
    """What is known of a topic after an answer; None as long as the source never told."""
    if settings is None or CLEANUP_POLICY not in settings:
        return before
    most_bytes = int(settings.get(MAX_MESSAGE_BYTES, DEFAULT_BATCH_BYTES))
    if "compact" not in settings[CLEANUP_POLICY]:
        return Cleaning(None, asked_ms, most_bytes)
    if DELETE_RETENTION_MS not in settings:
        return before
    free_ms = UNKNOWN_TIME_MS if before is None else before.free_ms
    return Cleaning(int(settings[DELETE_RETENTION_MS]), free_ms, most_bytes)


def decide_retention(settings: Mapping[str, str] | None) -> int | None:
    """How long a topic keeps records, in milliseconds; None: for ever, or it does not tell."""
    if settings is None or "delete" not in settings.get(CLEANUP_POLICY, "delete"):
        return None
    kept_ms = int(settings.get(RETENTION_MS, "-1"))
    return None if kept_ms < 0 else kept_ms


def look_at_cleaning(source: ClusterClient, topics: Sequence[TopicName]) -> CleaningSeen:
    """Asks the source; raises ClusterError if it does not answer."""
    asked_ms = time.time_ns() // 1_000_000
    asked = [CLEANUP_POLICY, DELETE_RETENTION_MS, MAX_MESSAGE_BYTES, RETENTION_MS]
    found = describe_topics(source, topics, asked)
    return CleaningSeen(asked_ms, {name: found.get(name) for name in topics})


class CleaningWatch:
    """What is known of every topic, and the errand that asks; used by the owner's thread."""

    def __init__(self, source: ClusterClient, first: CleaningSeen) -> None:
        self.retention_ms: Mapping[TopicName, int | None] = {}
        """How long topics keep records; another mapping after every answer."""
        self._source = source
        self._known: dict[TopicName, Cleaning | None] = {}
        self._under_way: Errand[CleaningSeen] | None = None
        self._next_look: float | None = None
        self._looked_at = 0.0
        self.adopt(first)

    def adopt(self, seen: CleaningSeen) -> bool:
        """Takes an answer; returns whether a topic is cleaned otherwise than it was known to be."""
        changed = False
        told = {name: decide_retention(settings) for name, settings in seen.settings.items()}
        self.retention_ms = {**self.retention_ms, **told}
        for name, settings in seen.settings.items():
            before = self._known.get(name)
            now = decide_cleaning(before, settings, seen.asked_ms)
            changed |= name not in self._known or _essence(before) != _essence(now)
            if before is not None and now is not None and _retention(before) != _retention(now):
                log.info("topic %s on the source: %s is now %s", name, DELETE_RETENTION_MS, _retention(now))
            self._known[name] = now
        return changed

    def is_asked(self, name: TopicName) -> bool:
        """Whether the source was asked about the topic, and answered."""
        return name in self._known

    def get(self, name: TopicName) -> Cleaning:
        """What is known of a topic; of one that is not told nothing is guarded."""
        return self._known.get(name) or Cleaning(None)

    @property
    def notices(self) -> tuple[str, ...]:
        """Says which topics are not guarded."""
        silent = sorted(name for name, known in self._known.items() if known is None)
        if not silent:
            return ()
        more = f" and {len(silent) - _NAMED} more" if len(silent) > _NAMED else ""
        return (
            f"the source does not tell {CLEANUP_POLICY} of {', '.join(silent[:_NAMED])}{more}: whether tombstones were"
            " lost there is not looked at (the right DESCRIBE_CONFIGS is missing, or the topic is gone)",
        )

    def step(self, topics: Collection[TopicName], now: float) -> bool:
        """Takes what an errand brought, and begins one when it is time; returns whether something changed."""
        changed = False
        if self._under_way is not None:
            if not self._under_way.done:
                return False
            changed = self._collect(now)
        if self._next_look is None:
            self._next_look = now + LOOK_SECONDS
        is_new = now >= self._looked_at + LATER_SECONDS and any(name not in self._known for name in topics)
        if topics and (is_new or now >= self._next_look):
            for name in self._known.keys() - set(topics):
                del self._known[name]
            names = sorted(topics)
            self._looked_at = now
            self._under_way = Errand(lambda: look_at_cleaning(self._source, names), "cleaning")
        return changed

    def _collect(self, now: float) -> bool:
        assert self._under_way is not None, "there is something to collect"
        errand, self._under_way = self._under_way, None
        try:
            seen = errand.result()
        except ClusterError as error:
            log.info("how the source cleans its topics is not told: %s", error)
            self._next_look = now + LATER_SECONDS
            return False
        self._next_look = now + LOOK_SECONDS
        return self.adopt(seen)


def _essence(known: Cleaning | None) -> tuple[int | None, int] | None:
    return None if known is None else (known.delete_retention_ms, known.max_message_bytes)


def _retention(known: Cleaning | None) -> int | None:
    return None if known is None else known.delete_retention_ms
