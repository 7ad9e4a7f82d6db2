"""What lives on the clusters beside the topics: quotas, groups, names that collide, tombstones.  (pure)"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from kmigrate.kafka_types import Side, TopicName
from kmigrate.manifest import LEASE_PREFIX
from kmigrate.preflight.findings import Finding, found, name_some
from kmigrate.preflight.registry import FindingId
from kmigrate.preflight.versions import Release
from kmigrate.wire.offset_calls import ListedGroup
from kmigrate.words import count_of

SHORT_TOMBSTONES_MS = 10_000
_KEPT_TOMBSTONES_SINCE: Release = (3, 1)
_BYTE_RATES = {Side.SOURCE: "consumer_byte_rate", Side.TARGET: "producer_byte_rate"}
_UNSUPPORTED = ("share", "streams")
_ACTIVE = ("Stable", "PreparingRebalance", "CompletingRebalance", "Assigning", "Reconciling")


class Quota(NamedTuple):
    """Values for one entity: type → name, None for the default of that type."""

    entity: Mapping[str, str | None]
    values: Mapping[str, float]


def judge_collisions(wanted: Collection[TopicName], existing: Collection[TopicName]) -> list[Finding]:
    """New topics whose names differ from another one's only in '.' and '_'."""
    taken: dict[str, TopicName] = {name.replace(".", "_"): name for name in sorted(existing)}
    findings = []
    for name in sorted(set(wanted) - set(existing)):
        other = taken.setdefault(name.replace(".", "_"), name)
        if other != name:
            findings.append(found(FindingId.NAME_COLLISION, topic=name, other=other))
    return findings


def quotas_for(quotas: Iterable[Quota], *, user: str | None, client_id: str) -> list[Quota]:
    """Those that may hold us back: of our user or the default one (any, if it is not known), and our client id."""
    return [
        quota
        for quota in quotas
        if quota.entity.keys() <= {"user", "client-id"}
        and ("user" not in quota.entity or quota.entity["user"] in (None, user) or user is None)
        and ("client-id" not in quota.entity or quota.entity["client-id"] in (None, client_id))
    ]


def judge_quotas(side: Side, quotas: Collection[Quota]) -> list[Finding]:
    """A finding for each quota that counts for us."""
    findings = []
    for quota in quotas:
        values = {key: value for key, value in quota.values.items() if key in (_BYTE_RATES[side], "request_percentage")}
        if side is Side.TARGET and "controller_mutation_rate" in quota.values:
            values["controller_mutation_rate"] = quota.values["controller_mutation_rate"]
        if values:
            entity = ", ".join(f"{kind} {name or '<default>'}" for kind, name in quota.entity.items())
            told = ", ".join(f"{key}={value:g}" for key, value in values.items())
            findings.append(found(FindingId.QUOTA, side=side, entity=entity, values=told))
    return findings or [found(FindingId.QUOTAS, side=side)]


def quota_rate(side: Side, quotas: Iterable[Quota], brokers: int) -> float | None:
    """Bytes a second that quotas let through, of all brokers together: a quota counts on each broker for itself."""
    rates = [quota.values[_BYTE_RATES[side]] for quota in quotas if _BYTE_RATES[side] in quota.values]
    return min(rates) * max(1, brokers) if rates else None


def judge_groups(
    source: Iterable[ListedGroup], target: Iterable[ListedGroup], selects: Callable[[str], bool]
) -> list[Finding]:
    """Groups that are active on both sides, and those of kinds that cannot be moved."""
    ours = [each for each in source if selects(each.group_id) and not each.group_id.startswith(LEASE_PREFIX)]
    active = {each.group_id for each in target if each.state in _ACTIVE}
    both = sorted(each.group_id for each in ours if each.state in _ACTIVE and each.group_id in active)
    findings = []
    if both:
        findings.append(
            found(FindingId.GROUP_ACTIVE_ON_BOTH, groups=f"{count_of(len(both), 'group')} ({name_some(both)})")
        )
    for kind in _UNSUPPORTED:
        names = [each.group_id for each in ours if each.group_type.lower() == kind]
        if names:
            findings.append(found(FindingId.GROUP_UNSUPPORTED, kind=kind, groups=name_some(names)))
    return findings or [found(FindingId.GROUPS, count=count_of(len(ours), "group"))]


def judge_tombstones(delete_retention_ms: Mapping[TopicName, int], source_release: Release) -> list[Finding]:
    """What may become of deleted keys, in topics that are compacted."""
    findings = []
    if delete_retention_ms and (0, 0) < source_release < _KEPT_TOMBSTONES_SINCE:
        findings.append(found(FindingId.TOMBSTONES_OLD_SOURCE, topics=name_some(delete_retention_ms)))
    short: dict[int, list[TopicName]] = {}
    for name, kept_ms in delete_retention_ms.items():
        if kept_ms <= SHORT_TOMBSTONES_MS:
            short.setdefault(kept_ms, []).append(name)
    for kept_ms, names in sorted(short.items()):
        findings.append(found(FindingId.TOMBSTONES_SHORT_LIVED, value=kept_ms, topics=name_some(names)))
    return findings
