"""Every right that kmigrate needs: on which side, for what, and what happens without it.  (pure)

`kmigrate check` looks for each of them, `docs/rights.md` is generated from this table. READ, WRITE, DELETE and ALTER
of a resource include DESCRIBE, ALTER_CONFIGS includes DESCRIBE_CONFIGS (StandardAuthorizerData). Produce needs no
IDEMPOTENT_WRITE since 2.8, and kmigrate never asks for a producer id.

References: KafkaApis and ControllerApis for what each request needs.
"""

from __future__ import annotations

import enum
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from kmigrate.access.security import Principal
from kmigrate.copy.identity import back_name
from kmigrate.kafka_types import Side
from kmigrate.preflight.findings import Finding, found, name_some
from kmigrate.preflight.registry import FindingId, Level
from kmigrate.wire.acl_calls import AclOperation
from kmigrate.words import count_of


class Resource(enum.Enum):
    """What a right is about."""

    CLUSTER = "cluster"
    TOPIC = "topic"
    GROUP = "group"
    LEASE_GROUP = "lease group"
    MIRROR_TOPIC = "mirror topic"
    TRANSACTIONAL_ID = "transactional id"


class Stage(enum.Enum):
    """When a right is needed first."""

    COPY = "copy"
    GROUPS = "groups"
    RETENTION = "retention"
    """Only for `kmigrate retention`."""
    CUTOVER = "cutover"


class Need(NamedTuple):
    """One right; `without` says what happens if it is missing, empty for a required one."""

    side: Side
    resource: Resource
    operation: AclOperation
    stage: Stage
    purpose: str
    without: str = ""

    @property
    def is_required(self) -> bool:
        return not self.without

    @property
    def is_for_later(self) -> bool:
        """Whether the copy does not need it at all."""
        return self.stage in (Stage.RETENTION, Stage.CUTOVER)

    @property
    def right(self) -> str:
        """`READ on topics`."""
        nouns = {
            Resource.CLUSTER: "the cluster",
            Resource.TOPIC: "topics",
            Resource.GROUP: "groups",
            Resource.LEASE_GROUP: f"the group {lease_group('kmigrate-<name>', self.side)}",
            Resource.MIRROR_TOPIC: "the topic __kmigrate.<name>",
            Resource.TRANSACTIONAL_ID: "transactional ids",
        }
        return f"{self.operation.name} on {nouns[self.resource]}"


def lease_group(of_migration: str, side: Side) -> str:
    """The group that holds the lease of who writes there: on the source, of the way back."""
    return back_name(of_migration) if side is Side.SOURCE else of_migration


_S, _T = Side.SOURCE, Side.TARGET
_R, _A = Resource, AclOperation
_COPY, _GROUPS, _RETENTION, _CUTOVER = Stage.COPY, Stage.GROUPS, Stage.RETENTION, Stage.CUTOVER

NEEDS: Sequence[Need] = (
    Need(_S, _R.TOPIC, _A.READ, _COPY, "reading records, where logs begin and end, and which producers they hold"),
    Need(
        *(_S, _R.TOPIC, _A.DESCRIBE_CONFIGS, _COPY, "the settings that topics are to have on the target"),
        "what topics are to become is not recorded, larger batches and lost tombstones are not guarded against",
    ),
    Need(
        *(_S, _R.CLUSTER, _A.DESCRIBE, _COPY, "sizes on disk, its clock, and rights as the source tells them"),
        "sizes are estimated from samples, or declared by hand (`sizes.sourceBytes`)",
    ),
    Need(
        *(_S, _R.CLUSTER, _A.DESCRIBE_CONFIGS, _COPY, "the brokers' settings and quotas"),
        "quotas on the source are not known beforehand",
    ),
    Need(
        *(_S, _R.TRANSACTIONAL_ID, _A.DESCRIBE, _COPY, "the names of transactions that hold the copy back"),
        "open transactions are shown by producer id only",
    ),
    Need(
        *(_S, _R.GROUP, _A.DESCRIBE, _GROUPS, "the offsets that groups have committed"),
        "groups without it are not moved; without DESCRIBE on the cluster, too, they are not even seen",
    ),
    Need(
        *(
            _S,
            _R.TOPIC,
            _A.ALTER_CONFIGS,
            _RETENTION,
            "`kmigrate retention raise`, `fence put --kind min-isr`, and the hold of the way back: only on command",
        ),
        "retention is raised by who administers the source, and there is no way back behind the first record",
    ),
    Need(
        *(_S, _R.CLUSTER, _A.ALTER, _CUTOVER, "`fence put --kind acl`, and gaps in the way back: only on command"),
        "no deny fence: producers are stopped by hand, and a still source is proven by its log ends",
    ),
    Need(
        *(_S, _R.TOPIC, _A.WRITE, _CUTOVER, "the way back: what applications write to the target is copied back"),
        "no way back behind the first record on the target: `arm` ends with that, or plan `wayBack: false`",
    ),
    Need(
        *(_S, _R.LEASE_GROUP, _A.READ, _CUTOVER, "the lease of the way back"),
        "no way back behind the first record on the target",
    ),
    Need(
        *(_S, _R.GROUP, _A.READ, _CUTOVER, "`abort` and `rollback`: what groups have read on the target is committed"),
        "groups go on where they stopped on the source, and read again what they have read on the target",
    ),
    Need(_T, _R.TOPIC, _A.WRITE, _COPY, "writing records"),
    Need(_T, _R.TOPIC, _A.READ, _COPY, "the last records, by which it is proven where the copy stands"),
    Need(_T, _R.LEASE_GROUP, _A.READ, _COPY, "the lease, by which only one copier writes at a time"),
    Need(
        *(_T, _R.TOPIC, _A.CREATE, _COPY, "creating topics under hold"),
        "topics must be created by hand, empty, with settings that fit a copy",
    ),
    Need(
        *(_T, _R.MIRROR_TOPIC, _A.CREATE, _COPY, "the topic that mirrors the state"),
        "it is created by hand (one partition, cleanup.policy=compact), or the state is exported to a file",
    ),
    Need(
        *(_T, _R.MIRROR_TOPIC, _A.WRITE, _COPY, "mirroring the state to the target"),
        "the state is exported to a file instead",
    ),
    Need(
        *(_T, _R.MIRROR_TOPIC, _A.READ, _COPY, "recovering a state whose disk is lost"),
        "the state is exported to a file instead, from which it may be recovered without offset maps",
    ),
    Need(
        *(_T, _R.TOPIC, _A.DESCRIBE_CONFIGS, _COPY, "whether existing topics fit a copy"),
        "settings of existing topics are not checked, and not recorded for the time after the copy",
    ),
    Need(
        *(_T, _R.TOPIC, _A.ALTER_CONFIGS, _COPY, "a higher max.message.bytes, and lifting the hold in the end"),
        "batches that are too large are split, and the hold is lifted by hand",
    ),
    Need(
        *(_T, _R.TOPIC, _A.ALTER, _COPY, "partitions that are added on the source later"),
        "added partitions wait until they are added on the target by hand",
    ),
    Need(
        *(_T, _R.TOPIC, _A.DELETE, _COPY, "log starts that move on, filler, and `resume --recreate`"),
        "where the source's log starts above 0: class shifted; log starts that move on are not followed",
    ),
    Need(
        *(_T, _R.CLUSTER, _A.ALTER, _COPY, "markers in gaps (CLUSTER_ACTION before 3.8), rules and users of `apply`"),
        "class mapped where there are gaps: transactions, compaction",
    ),
    Need(
        *(_T, _R.CLUSTER, _A.DESCRIBE, _COPY, "free room on disks, its clock, and rights as the target tells them"),
        "room is declared by hand (`sizes.targetFreeBytes`), and not watched while copying",
    ),
    Need(
        *(_T, _R.CLUSTER, _A.DESCRIBE_CONFIGS, _COPY, "limits of the brokers, expiry of producer ids, quotas"),
        "Kafka's defaults are assumed, and a producer id is taken to expire after a day",
    ),
    Need(
        *(_T, _R.GROUP, _A.READ, _GROUPS, "committing the translated offsets of groups"),
        "the offsets of groups without it are not carried over",
    ),
    Need(
        *(_T, _R.GROUP, _A.DELETE, _GROUPS, "taking a commit away: of a group that went back below the log start"),
        "where the target's log begins at 0, such a commit stays, and is told as `Failed`",
    ),
    Need(
        *(_T, _R.CLUSTER, _A.ALTER_CONFIGS, _CUTOVER, "quotas, where `apply` carries them over"),
        "quotas are set by who administers the target",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What became of asking for a right: the names where it is granted, is not, or is not told."""

    need: Need
    granted: Collection[str] = ()
    missing: Collection[str] = ()
    untold: Mapping[str, str] = field(default_factory=dict)
    """Name → why."""


CLUSTER_NAME = "kafka-cluster"


def satisfied(need: Need, operations: Collection[AclOperation], *, since_3_8: bool = True) -> bool:
    """Whether operations on a resource include the right, as Kafka's authorizer counts."""
    if need.operation is _A.ALTER and need.resource is _R.CLUSTER and need.side is _T:
        return (since_3_8 and _A.ALTER in operations) or _A.CLUSTER_ACTION in operations
    return need.operation in operations


def judge_principal(side: Side, us: Principal) -> Finding:
    """Who rights are granted to."""
    if us.name is None:
        reason = f"who we are there is not known, so lines that grant rights name `User:<principal>`: {us.basis}"
        return found(FindingId.PRINCIPAL, level=Level.UNKNOWN, side=side, reason=reason)
    return found(FindingId.PRINCIPAL, side=side, reason=f"we are {us.name} there ({us.basis})")


def judge_rights(side: Side, asked: Iterable[Asked], *, bootstrap: str, principal: str | None) -> list[Finding]:
    """A finding for each right that is missing or not told, or one that all are granted."""
    findings = []
    asked = list(asked)
    for each in asked:
        need = each.need
        if each.missing:
            findings.append(
                found(
                    FindingId.RIGHT_REQUIRED if need.is_required else FindingId.RIGHT_OPTIONAL,
                    level=Level.NOTE if need.is_for_later else None,
                    right=need.right,
                    side=side,
                    where=_where(need, each.missing),
                    purpose=need.purpose,
                    without=need.without,
                    command=acl_command(need, each.missing, bootstrap=bootstrap, principal=principal),
                )
            )
        if each.untold:
            findings.append(
                found(
                    FindingId.RIGHT_UNKNOWN,
                    right=need.right,
                    side=side,
                    where=_where(need, each.untold),
                    reason=next(iter(each.untold.values())),
                    command=acl_command(need, each.untold, bootstrap=bootstrap, principal=principal),
                )
            )
    return findings or [found(FindingId.RIGHTS, side=side, count=len(asked))]


def _where(need: Need, names: Collection[str]) -> str:
    if need.resource is _R.TOPIC:
        return f" for {count_of(len(names), 'topic')} ({name_some(names)})"
    if need.resource is _R.GROUP:
        return f" for {count_of(len(names), 'group')} ({name_some(names)})"
    return ""


def acl_command(need: Need, names: Collection[str], *, bootstrap: str, principal: str | None) -> str:
    """The command line that grants a right."""
    options = {
        _R.TOPIC: "--topic",
        _R.GROUP: "--group",
        _R.LEASE_GROUP: "--group",
        _R.MIRROR_TOPIC: "--topic",
        _R.TRANSACTIONAL_ID: "--transactional-id",
    }
    place = "--cluster"
    if need.resource in options:
        place = " ".join(f"{options[need.resource]} {_quote(name)}" for name in sorted(names))
    operation = "".join(part.capitalize() for part in need.operation.name.split("_"))
    return (
        f"kafka-acls.sh --bootstrap-server {bootstrap} --add --allow-principal"
        f" {shlex.quote(principal or 'User:<principal>')} --operation {operation} {place}"
    )


def _quote(name: str) -> str:
    """Always in quotes: a `*` is one of the names."""
    return f"'{name}'" if "'" not in name else shlex.quote(name)
