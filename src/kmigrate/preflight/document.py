"""What a check found, as one document.  (pure)

Rule: the JSON (`apiVersion: kmigrate/v1`, `kind: Check`) is a contract: keys are only ever added, readers ignore those
they do not know.

Reference: docs/check.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, with_config
from pydantic.alias_generators import to_camel

from kmigrate.preflight.findings import Finding, by_weight
from kmigrate.preflight.registry import LEVELS, FindingId, Level

_JSON = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class FindingRow:
    """One finding; `meaning` is that of its kind."""

    id: FindingId
    level: Level
    title: str
    reason: str
    remedy: str
    meaning: str


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class CheckDocument:
    """All findings, the heaviest first; ids are null where a cluster did not answer."""

    api_version: Literal["kmigrate/v1"] = "kmigrate/v1"
    kind: Literal["Check"] = "Check"
    name: str
    source_cluster_id: str | None
    target_cluster_id: str | None
    counts: dict[Level, int]
    findings: tuple[FindingRow, ...]

    @property
    def blocked(self) -> bool:
        return bool(self.counts[Level.BLOCK])

    def to_json(self, *, indent: int | None = None) -> str:
        """The document as JSON."""
        return _adapter().dump_json(self, by_alias=True, indent=indent).decode()

    def to_value(self) -> dict[str, Any]:
        """The document as plain values, with the keys of the JSON."""
        value: dict[str, Any] = _adapter().dump_python(self, mode="json", by_alias=True)
        return value


@cache
def _adapter() -> TypeAdapter[CheckDocument]:
    return TypeAdapter(CheckDocument)


def make_document(
    name: str, findings: Iterable[Finding], *, source_cluster_id: str | None, target_cluster_id: str | None
) -> CheckDocument:
    """The document of these findings; what was found twice is told once."""
    ordered = by_weight(dict.fromkeys(findings))
    counted = Counter(each.level for each in ordered)
    return CheckDocument(
        name=name,
        source_cluster_id=source_cluster_id,
        target_cluster_id=target_cluster_id,
        counts={level: counted[level] for level in LEVELS},
        findings=tuple(
            FindingRow(
                id=each.id,
                level=each.level,
                title=each.entry.title,
                reason=each.what,
                remedy=each.hint,
                meaning=each.entry.meaning,
            )
            for each in ordered
        ),
    )
