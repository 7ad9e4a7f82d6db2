"""The account of a migration: one document of all that was copied, decided, done, verified, and of what is not known.

Rule: the JSON (`apiVersion: kmigrate/v1`, `kind: Report`) is a contract: keys are only ever added, and a number that is
not known is null. Whatever is null somewhere is named in `notKnown`, with the reason. Times are milliseconds since the
epoch. Every topic, partition, group, effect and entry of the journal is in it, nothing is folded: that is the page's.

Reference: docs/report.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from pydantic.alias_generators import to_camel

from kmigrate import __version__
from kmigrate.copy.states import PartitionState
from kmigrate.errors import KmigrateError
from kmigrate.kafka_types import Side
from kmigrate.offsets.classes import OffsetClass
from kmigrate.runner.groups_document import GroupStatus, LeftOutGroup
from kmigrate.runner.status import AcceptedStatus, LeftOut, MigrationState, StopStatus
from kmigrate.security.fence import FenceKind, FencePhase
from kmigrate.topics.hold import ALWAYS
from kmigrate.topics.intended import Origin

_JSON = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterAccount:
    """One of the two clusters. `release` is that of Kafka which its brokers offered at the last run."""

    side: Side
    cluster_id: str | None = None
    release: str | None = None


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class DifferenceAccount:
    """The first offset at which a partition differed; the target's is null where nothing of it lies there."""

    source_offset: int
    target_offset: int | None
    words: str


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationAccount:
    """The last verification in one mode: what was compared are the source's offsets `start` ≤ o < `end`.

    `verdict` is `equal`, `different` or `unknown`. `unverified` counts offsets that were copied since.
    """

    mode: str
    verdict: str
    at: int
    start: int | None = None
    end: int | None = None
    unverified: int | None = None
    records: int = 0
    reason: str = ""
    digest: str | None = None
    difference: DifferenceAccount | None = None


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionAccount:
    """One partition. `begins_at` is the first source offset that was wanted, `position` how far the source is copied.

    `target_end` is where that lies on the target. `filler` is what was allotted to it of filler records; `map_runs` how
    many runs its offset map has, where the class needs one.
    """

    partition: int
    state: PartitionState | None = None
    offset_class: OffsetClass | None = None
    begins_at: int | None = None
    source_start: int | None = None
    source_end: int | None = None
    position: int | None = None
    target_end: int | None = None
    lag_records: int | None = None
    filler: int | None = None
    map_runs: int | None = None
    reason: str = ""
    stop: StopStatus | None = None
    waived: bool = False
    accepted: AcceptedStatus | None = None
    verifications: tuple[VerificationAccount, ...] = ()


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsAccount:
    """A target topic's settings: `held` for the time of copying, or restored. `intended` is what it is to have, or got.

    `origin` says whose these are: the source's topic's, or those that the target's had before.
    """

    held: bool = False
    origin: Origin | None = None
    intended: Mapping[str, str] | None = None
    restored_at: int | None = None


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class TopicAccount:
    """One topic. `markers_written` counts offsets of gaps since the last owner started."""

    topic: str
    settings: SettingsAccount = SettingsAccount()
    markers_written: int | None = None
    partitions: tuple[PartitionAccount, ...] = ()


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class ResetAccount:
    """A reset of a group's commits on the target; `detail` says what was there before and what came."""

    number: int
    group: str
    at: int
    undone_at: int | None
    detail: Mapping[str, Any]


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class FenceEvent:
    """What happened to a fence, and when."""

    at: int
    what: str


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class FenceAccount:
    """One fence: what it kept away from where, when it was put and lifted. `left` is what somebody else changed."""

    number: int
    side: Side
    kind: FenceKind
    phase: FencePhase
    topics: tuple[str, ...]
    principals: tuple[str, ...]
    since: int
    stood: bool
    lifted_at: int | None
    left: tuple[str, ...]
    events: tuple[FenceEvent, ...]


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class EffectAccount:
    """Something that was done to a cluster; planned before, done once the cluster showed it; null: not (yet).

    `withdrawn`: the cluster refused it, and it is no longer to be done.
    """

    number: int
    kind: str
    name: str
    planned_at: int | None
    done_at: int | None
    withdrawn: bool = False
    payload: Mapping[str, Any]


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class EntryAccount:
    """An entry of the journal: its hash is that of the entry before and all that stands here."""

    number: int
    at: int | None
    kind: str
    detail: Mapping[str, Any]
    hash: str


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class ChainAccount:
    """Whether the journal is as it was written; `broken_at` is the first number that does not follow."""

    holds: bool
    entries: int
    head_number: int
    head_hash: str
    broken_at: int | None
    reason: str
    sentence: str


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class NotKnown:
    """Something that is not known, why, and which topics, partitions or entries that is about; `count` in all."""

    what: str
    why: str
    count: int | None = None
    where: tuple[str, ...] = ()


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class ReportTotals:
    """Counts of the whole. Verified is a partition whose last verification in mode `records` found it equal."""

    topics: int = 0
    partitions: int = 0
    states: dict[str, int] = field(default_factory=dict)
    stopped: int = 0
    waived: int = 0
    verified: int = 0
    different: int = 0
    groups: int = 0


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class ReportDocument:
    """All of it. `state` and `reason` are the last status document's, `updated_at` is when that was true."""

    api_version: Literal["kmigrate/v1"] = "kmigrate/v1"
    kind: Literal["Report"] = "Report"
    name: str
    made_at: int
    made_by: str = f"kmigrate {__version__}"
    state: MigrationState | None = None
    reason: str = ""
    begun_at: int | None = None
    start: str | None = None
    term: int | None = None
    updated_at: int | None = None
    clusters: tuple[ClusterAccount, ...] = ()
    totals: ReportTotals = ReportTotals()
    topics: tuple[TopicAccount, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    hold: Mapping[str, str] = field(default_factory=lambda: dict(ALWAYS))
    groups: tuple[GroupStatus, ...] = ()
    groups_updated_at: int | None = None
    left_out_groups: tuple[LeftOutGroup, ...] = ()
    group_resets: tuple[ResetAccount, ...] = ()
    fences: tuple[FenceAccount, ...] = ()
    cutovers: tuple[Mapping[str, Any], ...] = ()
    unavailable: tuple[Mapping[str, Any], ...] = ()
    effects: tuple[EffectAccount, ...] = ()
    journal: tuple[EntryAccount, ...] = ()
    not_known: tuple[NotKnown, ...] = ()
    chain: ChainAccount

    def to_json(self, *, indent: int | None = None) -> str:
        """The document as JSON."""
        return _adapter().dump_json(self, by_alias=True, indent=indent).decode()

    @classmethod
    def from_json(cls, text: str) -> ReportDocument:
        """The document that `to_json` wrote; raises KmigrateError if it is not one."""
        try:
            return _adapter().validate_json(text)
        except ValidationError as error:
            raise KmigrateError(
                f"not a report of kmigrate/v1: {error.errors()[0]['msg']}",
                hint="owner and command come from different versions of kmigrate",
            ) from error


@cache
def _adapter() -> TypeAdapter[ReportDocument]:
    return TypeAdapter(ReportDocument)
