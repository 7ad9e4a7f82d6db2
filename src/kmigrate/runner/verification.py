"""What a verification found, as values with a versioned JSON form: one partition's, and the document of a whole one.

Rule: the JSON (`apiVersion: kmigrate/v1`, `kind: Verification`) is a contract: keys are only ever added. A number that
is not known is null. Times are milliseconds since the epoch. What records hold is never part of what is stored.

Reference: docs/verify.md.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, with_config
from pydantic.alias_generators import to_camel

from kmigrate.offsets.classes import OffsetClass
from kmigrate.runner.verify_partition import Mode
from kmigrate.verify.differences import DifferenceKind

_JSON = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


class Verdict(enum.StrEnum):
    """What is known of a partition."""

    EQUAL = "equal"
    """Everything that was compared is the same."""
    DIFFERENT = "different"
    """A difference was found, and read twice."""
    UNKNOWN = "unknown"
    """It could not be compared; the reason says why."""


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class RecordShape:
    """What a record looks like: sizes in bytes, null for a null key or value; contents only where asked for."""

    timestamp: int
    key_bytes: int | None
    value_bytes: int | None
    headers: int
    headers_bytes: int
    contents: str | None = None


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class FirstDifference:
    """The first offset at which a partition differs; the target's is null where nothing of it lies there.

    `fields` are which of timestamp, key, value and headers differ, where both sides have a record.
    """

    kind: DifferenceKind
    source_offset: int
    target_offset: int | None
    words: str
    fields: tuple[str, ...] = ()
    source: RecordShape | None = None
    target: RecordShape | None = None

    @property
    def without_contents(self) -> FirstDifference:
        """The same, fit to be kept."""
        bare = {
            side: replace(shape, contents=None)
            for side in ("source", "target")
            if (shape := getattr(self, side)) is not None
        }
        return replace(self, **bare)


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class LogRange:
    """Where a log starts, and where its readable part ends."""

    start: int
    end: int


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class UnequalBucket:
    """Records of a stretch of time, of which both sides have not as many."""

    start: int
    source: int
    target: int


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionVerification:
    """What is known of one partition.

    Verified are the source's offsets `start` ≤ o < `end`, null if none; of these this verification read what lies from
    `fresh_from` on: `records`, `source_bytes` and `target_bytes`, of which `taken_apart` records were decoded. `behind`
    counts what the source has and the target has not yet. `position` is up to where data is copied, as far as it is
    known when this is shown: beyond `end` the verification is stale. `digest` covers the offsets from `digest_start` to
    `digest_end`, `settled` is where it can be continued. `excused` records were cleaned away on one side.

    Of a copy that another tool made, records are compared in order: `differences` are the first ones, `difference` the
    very first, and `different_records` how many there are of each kind.
    """

    topic: str
    partition: int
    target_topic: str
    mode: Mode
    verdict: Verdict
    reason: str = ""
    hint: str = ""
    offset_class: OffsetClass | None = None
    source_topic_id: str = ""
    target_topic_id: str = ""
    source: LogRange | None = None
    target: LogRange | None = None
    behind: int | None = None
    start: int | None = None
    end: int | None = None
    fresh_from: int | None = None
    verified_at: int = 0
    records: int = 0
    source_bytes: int = 0
    target_bytes: int = 0
    taken_apart: int = 0
    excused: int = 0
    second_readings: int = 0
    trimmed_to: int | None = None
    digest: str | None = None
    digest_start: int | None = None
    digest_end: int | None = None
    settled: tuple[int, str] | None = None
    bucket_ms: int | None = None
    buckets: int = 0
    unequal_buckets: tuple[UnequalBucket, ...] = ()
    difference: FirstDifference | None = None
    differences: tuple[FirstDifference, ...] = ()
    different_records: Mapping[str, int] = field(default_factory=dict)
    position: int | None = None

    @property
    def name(self) -> str:
        return f"{self.topic}-{self.partition}"

    @property
    def unverified(self) -> int | None:
        """Offsets that were copied since: how stale it is. Null if that is not known."""
        if self.position is None or self.end is None:
            return None
        return max(0, self.position - self.end)

    @property
    def to_keep(self) -> PartitionVerification:
        """The same without what records hold, and without what is only true now."""
        difference = None if self.difference is None else self.difference.without_contents
        differences = tuple(each.without_contents for each in self.differences)
        return replace(self, difference=difference, differences=differences, position=None)

    def to_json(self) -> str:
        """As it is kept."""
        return _partition().dump_json(self, by_alias=True, exclude_defaults=True).decode()

    @classmethod
    def from_json(cls, text: str) -> PartitionVerification:
        """What `to_json` wrote."""
        return _partition().validate_json(text)


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationDocument:
    """A whole verification; `stored`: what was found before, nothing was read now."""

    api_version: Literal["kmigrate/v1"] = "kmigrate/v1"
    kind: Literal["Verification"] = "Verification"
    name: str
    mode: Mode
    stored: bool = False
    started_at: int | None = None
    finished_at: int | None = None
    partitions: tuple[PartitionVerification, ...] = ()

    @property
    def different(self) -> tuple[PartitionVerification, ...]:
        """The partitions that differ."""
        return tuple(each for each in self.partitions if each.verdict is Verdict.DIFFERENT)

    @property
    def unknown(self) -> tuple[PartitionVerification, ...]:
        """The partitions that could not be compared."""
        return tuple(each for each in self.partitions if each.verdict is Verdict.UNKNOWN)

    def to_value(self) -> dict[str, Any]:
        """The document as what JSON and YAML are made of."""
        value: dict[str, Any] = _document().dump_python(self, mode="json", by_alias=True)
        return value

    def to_json(self, *, indent: int | None = None) -> str:
        """The document as JSON."""
        return _document().dump_json(self, by_alias=True, indent=indent).decode()


@cache
def _partition() -> TypeAdapter[PartitionVerification]:
    return TypeAdapter(PartitionVerification)


@cache
def _document() -> TypeAdapter[VerificationDocument]:
    return TypeAdapter(VerificationDocument)
