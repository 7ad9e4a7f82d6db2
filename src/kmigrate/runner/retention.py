"""What was raised on the source and is not restored yet: the journal of a write to the source.

The command that writes there plans it here first, and ends it here afterwards. What is planned may have happened: it
counts as raised, and `restore` undoes it all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kmigrate.kafka_types import TopicName
from kmigrate.state.store import EffectEntry, Store

RAISE = "raise-retention"
RESTORE = "restore-retention"
SOURCE_EFFECTS = (RAISE, RESTORE)


class Raised(NamedTuple):
    """A topic's own retention as it was before the first raise, and what it was raised to last."""

    before: Mapping[str, str | None]
    wanted: Mapping[str, str | None]


def raised_topics(entries: Iterable[EffectEntry]) -> dict[TopicName, Raised]:
    """Topics whose retention is ours to restore, from all effects in their order."""
    raised: dict[TopicName, Raised] = {}
    for entry in entries:
        if entry.kind == RAISE:
            first = raised.get(entry.topic)
            before = entry.payload["before"] if first is None else first.before
            raised[entry.topic] = Raised(before, entry.payload["wanted"])
        elif entry.kind == RESTORE and entry.is_done:
            raised.pop(entry.topic, None)
    return raised


class RetentionJournal:
    """Keeps what is done to the source's retention; many threads may use it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def raised(self) -> dict[TopicName, Raised]:
        """Topics whose retention is ours to restore."""
        return raised_topics(self._store.effects())

    def plan(self, kind: str, topic: TopicName, change: Raised) -> int:
        """Journals a change that is about to be made; returns its number."""
        payload = {"before": dict(change.before), "wanted": dict(change.wanted)}
        return self._store.plan_effect(kind, topic, payload).id

    def end(self, number: int) -> None:
        """Journals that the source shows a change."""
        for entry in self._store.effects():
            if entry.id == number and entry.kind in SOURCE_EFFECTS:
                self._store.end_effect(entry)
