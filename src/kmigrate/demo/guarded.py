"""Clusters on which a fence holds: an authorizer, a user of kmigrate's own, and applications that are nobody.

Rule: applications come to the plain listener as `User:ANONYMOUS` and may do everything until a rule denies it; kmigrate
comes to a listener of its own, as a super user, so that no fence shuts it out. All of it is on loopback, for a minute.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kmigrate.demo.embedded import EmbeddedCluster

USER = "kmigrate"
_LISTENER = "SASL"

LISTENERS: Mapping[str, str] = {_LISTENER: "SASL_PLAINTEXT"}


def guarded_properties(password: str) -> dict[str, str]:
    """What every node of such a cluster is started with."""
    login = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{password}";'
    return {
        "sasl.enabled.mechanisms": "PLAIN",
        f"listener.name.{_LISTENER.lower()}.plain.sasl.jaas.config": login,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "true",
        "super.users": f"User:{USER}",
    }


def client_properties(cluster: EmbeddedCluster, password_file: Path) -> dict[str, str]:
    """How kmigrate reaches such a cluster, as a manifest has it."""
    return {
        "bootstrap.servers": cluster.bootstrap_of(_LISTENER),
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": USER,
        "sasl.password": f"${{file:{password_file}}}",
    }
