"""The groups document: how every consumer group stands on both sides, as values with a versioned JSON form.

Rule: as for the status document: keys are only ever added, and a number that is not known is null. Reference:
docs/groups.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from pydantic.alias_generators import to_camel

from kmigrate.errors import KmigrateError
from kmigrate.groups.values import OutcomeKind

_JSON = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class MemberStatus:
    """A member of a group and where it runs; `instance_id` is that of a static one."""

    client_id: str
    host: str
    instance_id: str | None = None


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSide:
    """A group on one cluster. `members` is null where they were not asked for, `lag_seconds` where nobody can tell."""

    state: str
    lag_records: int | None = None
    lag_seconds: float | None = None
    members: tuple[MemberStatus, ...] | None = None


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPartition:
    """A group's commit for one partition on both sides; null: there is none. Lags are in records.

    `offset_gap` is how much more is left to be read from the commit on the target than from that on the source: 0 where
    it is the exact translation. In class *mapped* gaps of the source count while there is a difference.
    """

    topic: str
    partition: int
    outcome: OutcomeKind
    reason: str = ""
    source_offset: int | None = None
    target_offset: int | None = None
    source_lag: int | None = None
    target_lag: int | None = None
    offset_gap: int | None = None

    @property
    def name(self) -> str:
        return f"{self.topic}-{self.partition}"


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class GroupStatus:
    """One group. `safe_to_move`: it can be stopped on the source and started on the target now; `safe_reason` says why
    not, or what comes first.

    `records_per_second` is what it consumes on the source, `eta_seconds` when it will have read everything there.
    """

    group: str
    group_type: str
    source: GroupSide
    target: GroupSide
    outcome: OutcomeKind
    reason: str = ""
    safe_to_move: bool = False
    safe_reason: str = ""
    moved_at: int | None = None
    records_per_second: float | None = None
    eta_seconds: float | None = None
    partitions: tuple[GroupPartition, ...] = ()

    @property
    def is_drained(self) -> bool:
        """Whether it has read everything that can be read on the source."""
        return self.source.lag_records == 0

    @property
    def differences(self) -> int:
        """Partitions whose commit on the target is not (yet) what the source's translates to."""
        return sum(each.outcome in (OutcomeKind.WAITING, OutcomeKind.FAILED) for each in self.partitions)


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOutGroup:
    """A group that takes no part, and why."""

    group: str
    reason: str


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLag:
    """What a group has left to read on each side, and how much more that is on the target, in records.

    Null where nobody can tell. The sums are those of the partitions of which it is known.
    """

    group: str
    source_lag: int | None = None
    target_lag: int | None = None
    offset_gap: int | None = None


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class GroupsSummary:
    """How many groups have which outcome, and how long the last of `rounds` took; `differences` counts partitions of
    groups. `lags` has every group, in the order of their names."""

    groups: int = 0
    synced: int = 0
    waiting: int = 0
    moved: int = 0
    skipped: int = 0
    failed: int = 0
    partitions: int = 0
    differences: int = 0
    unsupported: tuple[LeftOutGroup, ...] = ()
    rounds: int = 0
    round_seconds: float | None = None
    trouble: str = ""
    lags: tuple[GroupLag, ...] = ()


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class GroupsDocument:
    """All groups of a migration, in the order of their names."""

    api_version: Literal["kmigrate/v1"] = "kmigrate/v1"
    kind: Literal["Groups"] = "Groups"
    name: str
    updated_at: int | None = None
    summary: GroupsSummary = GroupsSummary()
    groups: tuple[GroupStatus, ...] = ()
    left_out: tuple[LeftOutGroup, ...] = ()

    def to_json(self, *, indent: int | None = None) -> str:
        """The document as JSON."""
        return _adapter().dump_json(self, by_alias=True, indent=indent).decode()

    def to_value(self) -> dict[str, Any]:
        """The document as what JSON and YAML are made of."""
        value: dict[str, Any] = _adapter().dump_python(self, mode="json", by_alias=True)
        return value

    @classmethod
    def from_json(cls, text: str) -> GroupsDocument:
        """The document that `to_json` wrote; raises KmigrateError if it is not one."""
        try:
            return _adapter().validate_json(text)
        except ValidationError as error:
            raise KmigrateError(
                f"not a groups document of kmigrate/v1: {error.errors()[0]['msg']}",
                hint="owner and command come from different versions of kmigrate",
            ) from error


@cache
def _adapter() -> TypeAdapter[GroupsDocument]:
    return TypeAdapter(GroupsDocument)
