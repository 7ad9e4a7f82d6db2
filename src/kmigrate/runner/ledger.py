"""What is kept of a migration beside its status: journal, effects, beginnings, settings, fences, resets.  (pure)

Rule: values only, so that whoever makes a document of them needs no database; `ledger_reader` reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kmigrate.kafka_types import Side, TopicName, TopicPartition
from kmigrate.offsets.beginning import Beginning
from kmigrate.offsets.classes import OffsetClass
from kmigrate.security.fence import Fence
from kmigrate.state.journal import EMPTY, ChainState, EffectEntry, JournalEntry
from kmigrate.topics.intended import Intended


class Reset(NamedTuple):
    """A reset of a group's commits on the target; `payload` says what was there before and what came."""

    number: int
    group: str
    at_ms: int
    undone_ms: int | None
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What is kept, as of `read_at_ms`. Journal and effects are whole, in their order.

    `begun_ms` is when the first run began and `start` the manifest's then; None where an earlier version began.
    `intended` has the topics whose hold has not ended, `map_runs` how many runs the offset map of a partition has.
    """

    name: str
    read_at_ms: int
    cluster_ids: Mapping[Side, str] = field(default_factory=dict)
    begun_ms: int | None = None
    start: str | None = None
    term: int | None = None
    journal: tuple[JournalEntry, ...] = ()
    effects: tuple[EffectEntry, ...] = ()
    chain: ChainState = EMPTY
    intended: Mapping[TopicName, Intended] = field(default_factory=dict)
    beginnings: Mapping[TopicPartition, Beginning] = field(default_factory=dict)
    classes: Mapping[TopicPartition, OffsetClass] = field(default_factory=dict)
    map_runs: Mapping[TopicPartition, int] = field(default_factory=dict)
    fences: tuple[Fence, ...] = ()
    resets: tuple[Reset, ...] = ()

    @property
    def releases(self) -> dict[Side, str]:
        """Which release of Kafka the oldest broker of each cluster offered at the last run, where that was noted."""
        runs = [each.detail.get("kafka") for each in self.journal if each.kind == "run"]
        told = runs[-1] if runs and isinstance(runs[-1], dict) else {}
        return {side: str(told[side.value]) for side in Side if side.value in told}
