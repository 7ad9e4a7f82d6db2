"""A secured source and target whose user `copier` may do what a test grants to it, and nothing else.

Brokers, tests and witnesses come over the plaintext listeners, as a super user; kmigrate comes over SASL_SSL as
`copier`, who is none.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from click.testing import CliRunner
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from kmigrate.cli.group import commands
from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.kafka_types import Side
from kmigrate.preflight.rights import NEEDS, Need, Resource
from tests.fault.harness import Migration
from tests.kafka_tools import TIMEOUT_SECONDS, new_topic_name
from tests.secured.pair import Pair

COPIER = "copier"
PRINCIPAL = f"User:{COPIER}"
LISTENER, MECHANISM = "SASL_SSL", "SCRAM-SHA-512"
BLOCKED = 4
ANY_NAME = "*"
NEEDED = [need for need in NEEDS if not need.is_for_later]
LATER = [need for need in NEEDS if need.is_for_later]
_KINDS = {
    Resource.CLUSTER: ResourceType.BROKER,
    Resource.TOPIC: ResourceType.TOPIC,
    Resource.GROUP: ResourceType.GROUP,
    Resource.LEASE_GROUP: ResourceType.GROUP,
    Resource.MIRROR_TOPIC: ResourceType.TOPIC,
    Resource.TRANSACTIONAL_ID: ResourceType.TRANSACTIONAL_ID,
}


class Acls:
    """The rules of one cluster that are about `copier`."""

    def __init__(self, cluster: EmbeddedCluster) -> None:
        self._admin = AdminClient({"bootstrap.servers": cluster.direct_bootstrap})

    def allow(self, operation: AclOperation, kind: ResourceType, name: str, principal: str = PRINCIPAL) -> None:
        rule = AclBinding(
            kind, name, ResourcePatternType.LITERAL, principal, ANY_NAME, operation, AclPermissionType.ALLOW
        )
        self._admin.create_acls([rule])[rule].result(TIMEOUT_SECONDS)

    def take_all(self) -> None:
        """Nothing is allowed any more."""
        rules = _every_rule(PRINCIPAL)
        self._admin.delete_acls([rules])[rules].result(TIMEOUT_SECONDS)

    def list(self) -> set[str]:
        """Every rule of the cluster, in words, whoever it is about."""
        return {str(rule) for rule in self._admin.describe_acls(_every_rule(None)).result(TIMEOUT_SECONDS)}


def _every_rule(principal: str | None) -> AclBindingFilter:
    return AclBindingFilter(
        ResourceType.ANY,
        None,
        ResourcePatternType.ANY,
        principal,
        None,
        AclOperation.ANY,
        AclPermissionType.ANY,
    )


class Subjects(NamedTuple):
    """What the rights of a migration are about."""

    topics: Sequence[str]
    groups: Sequence[str]
    migration: str

    @classmethod
    def of(cls, migration: Migration, group: str) -> Subjects:
        return cls(sorted(migration.topics), [group], migration.name)

    def names(self, need: Need) -> Sequence[str]:
        """The names for which a right is granted; the cluster has none."""
        match need.resource:
            case Resource.CLUSTER:
                return [""]
            case Resource.TOPIC:
                return self.topics
            case Resource.GROUP:
                return self.groups
            case Resource.LEASE_GROUP:
                back = "-back" if need.side is Side.SOURCE else ""
                return [f"kmigrate-{self.migration}{back}"]
            case Resource.MIRROR_TOPIC:
                return [f"__kmigrate.{self.migration}"]
            case Resource.TRANSACTIONAL_ID:
                return [ANY_NAME]


class Guarded:
    """A running pair with authorizers."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.clusters = {Side.SOURCE: pair.source, Side.TARGET: pair.target}
        self.acls = {side: Acls(cluster) for side, cluster in self.clusters.items()}

    def properties(self, side: Side) -> dict[str, str]:
        """The client properties of `copier`."""
        return self.pair.security.client(self.clusters[side], LISTENER, MECHANISM, COPIER)

    def bootstrap(self, side: Side) -> str:
        return self.clusters[side].bootstrap_of(LISTENER)

    def migration(self, folder: Path, topics: Sequence[str], group: str, spec: Mapping[str, Any]) -> Migration:
        """A migration of these topics and this group, as `copier`."""
        sides = {str(side): {"properties": {"request.timeout.ms": "5000", **self.properties(side)}} for side in Side}
        wanted = {**sides, "groups": {"include": [group]}, **spec}
        return Migration(folder, *self.clusters.values(), topics, name=new_topic_name("rights"), spec=wanted)

    def take_all(self) -> None:
        """Nothing is allowed any more, on either side."""
        for acls in self.acls.values():
            acls.take_all()

    def grant(self, migration: Migration, group: str, *, but: Collection[Need] = ()) -> None:
        """Exactly the rights of the table that a copy needs, without some."""
        self.grant_for(Subjects.of(migration, group), but=but)

    def grant_for(self, subjects: Subjects, *, but: Collection[Need] = ()) -> None:
        """The same for more than one group."""
        self.take_all()
        for need in NEEDED:
            if need not in but:
                for name in subjects.names(need):
                    operation = AclOperation[need.operation.name]
                    self.acls[need.side].allow(operation, _KINDS[need.resource], name or "kafka-cluster")

    def line(self, need: Need, migration: Migration, group: str) -> str:
        """The line that grants a right, as a person would write it."""
        options = {
            Resource.CLUSTER: "--cluster",
            Resource.TOPIC: "--topic",
            Resource.GROUP: "--group",
            Resource.LEASE_GROUP: "--group",
            Resource.MIRROR_TOPIC: "--topic",
            Resource.TRANSACTIONAL_ID: "--transactional-id",
        }
        operation = need.operation.name.title().replace("_", "")
        option = options[need.resource]
        places = [f"{option} '{name}'" if name else option for name in Subjects.of(migration, group).names(need)]
        return (
            f"kafka-acls.sh --bootstrap-server {self.bootstrap(need.side)} --add --allow-principal {PRINCIPAL}"
            f" --operation {operation} {' '.join(places)}"
        )


def including(need: Need) -> list[Need]:
    """Rights of the table with which a broker grants this one, too; READ and WRITE have nothing that they include."""
    implied = {"DESCRIBE": "ALTER", "DESCRIBE_CONFIGS": "ALTER_CONFIGS"}
    wider = implied.get(need.operation.name)
    return [
        each for each in NEEDED if (each.side, each.resource, each.operation.name) == (need.side, need.resource, wider)
    ]


def findings(migration: Migration) -> list[dict[str, Any]]:
    """Everything that `check` tells; its exit code is that of its findings."""
    result = CliRunner().invoke(commands, ["check", "-f", str(migration.manifest), "-o", "json"])
    found: list[dict[str, Any]] = json.loads(result.stdout)["findings"]
    assert result.exit_code == (BLOCKED if any(each["level"] == "BLOCKER" for each in found) else 0)
    return found


def missing(migration: Migration, *, later: bool = False) -> list[tuple[str, str]]:
    """Rights that are missing, or not told: level and the line that grants it; those for the copy, or for later."""
    return [
        (each["level"], each["remedy"])
        for each in findings(migration)
        if each["id"].startswith("RIGHT_") and (each["level"] == "NOTE") == later
    ]


def plan(migration: Migration) -> dict[str, Any]:
    """What `plan` tells."""
    result = CliRunner().invoke(commands, ["plan", "-f", str(migration.manifest), "-o", "json"])
    document: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == (BLOCKED if document["blockers"] else 0), result.stderr
    return document


def planned_class(migration: Migration, topic: str) -> str:
    """The class that the plan gives the topic's only partition."""
    (partition,) = [each for each in plan(migration)["partitions"] if each["topic"] == topic]
    return str(partition["offsetClass"])
