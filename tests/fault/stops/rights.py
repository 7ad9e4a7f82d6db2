"""Takes rights from kmigrate on a broker with an authorizer.

All clients are User:ANONYMOUS there. Those that come through the proxy have an address of their own, so that rights can
be taken from them and left to the broker itself.
"""

from __future__ import annotations

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from kmigrate.demo.embedded import EmbeddedCluster
from tests.kafka_tools import TIMEOUT_SECONDS

OUTSIDE = "127.0.0.2"
ANYWHERE = "*"
EVERYBODY = "User:*"
CLUSTER = "kafka-cluster"
AUTHORIZER = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}


class Rights:
    """The access rules of a cluster."""

    def __init__(self, cluster: EmbeddedCluster) -> None:
        self._admin = AdminClient({"bootstrap.servers": cluster.direct_bootstrap})

    def allow_everything(self, kind: ResourceType, name: str) -> None:
        self._add(AclOperation.ALL, AclPermissionType.ALLOW, kind, name, ANYWHERE)

    def deny_outside(self, operation: AclOperation, kind: ResourceType, name: str) -> None:
        self._add(operation, AclPermissionType.DENY, kind, name, OUTSIDE)

    def deny_nothing(self) -> None:
        """Takes every denial back."""
        denials = AclBindingFilter(
            ResourceType.ANY,
            None,
            ResourcePatternType.ANY,
            None,
            None,
            AclOperation.ANY,
            AclPermissionType.DENY,
        )
        removed = self._admin.delete_acls([denials])[denials].result(TIMEOUT_SECONDS)
        assert removed, "nothing was denied"

    def _add(
        self, operation: AclOperation, permission: AclPermissionType, kind: ResourceType, name: str, host: str
    ) -> None:
        rule = AclBinding(kind, name, ResourcePatternType.LITERAL, EVERYBODY, host, operation, permission)
        self._admin.create_acls([rule])[rule].result(TIMEOUT_SECONDS)
