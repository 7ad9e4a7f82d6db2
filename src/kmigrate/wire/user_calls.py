"""Calls about SCRAM users: who there is, and setting a credential. No cluster ever tells a credential.

Sources: DescribeUserScramCredentialsRequest.json, AlterUserScramCredentialsRequest.json (KIP-554).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, NamedTuple

from kmigrate.wire.call import Call
from kmigrate.wire.library import (
    AlterUserScramCredentialsRequest,
    AlterUserScramCredentialsResponse,
    DescribeUserScramCredentialsRequest,
    DescribeUserScramCredentialsResponse,
)


class ScramMechanism(IntEnum):
    """Kafka's codes."""

    SCRAM_SHA_256 = 1
    SCRAM_SHA_512 = 2

    @property
    def words(self) -> str:
        """`SCRAM-SHA-256`."""
        return self.name.replace("_", "-")


Credentials = Mapping[str, Mapping[ScramMechanism, int]]
"""User → mechanism → iterations."""


class UsersTold(NamedTuple):
    """What a cluster told: an error code and message, and every user that has credentials."""

    error: int
    message: str
    users: Credentials


class Salted(NamedTuple):
    """A credential as brokers keep it; never printed whole."""

    user: str
    mechanism: ScramMechanism
    iterations: int
    salt: bytes
    salted_password: bytes

    def __repr__(self) -> str:
        return f"Salted({self.user!r}, {self.mechanism.words}, iterations={self.iterations})"


def describe_users() -> Call[UsersTold]:
    """Every user with SCRAM credentials; needs DESCRIBE on the cluster. Goes to the controller."""
    known = frozenset(ScramMechanism)
    return Call(
        what="DescribeUserScramCredentials",
        request=DescribeUserScramCredentialsRequest,
        response=DescribeUserScramCredentialsResponse,
        oldest=0,
        newest=0,
        build=lambda _version: DescribeUserScramCredentialsRequest(users=None),
        parse=lambda answer: UsersTold(
            answer.error_code,
            answer.error_message or "",
            {
                each.user: {
                    ScramMechanism(info.mechanism): info.iterations
                    for info in each.credential_infos
                    if info.mechanism in known
                }
                for each in answer.results
                if not each.error_code
            },
        ),
    )


def set_credential(credential: Salted) -> Call[tuple[int, str]]:
    """Gives a user this credential; needs ALTER on the cluster. Goes to the controller. Error code and message."""

    def build(_version: int) -> Any:
        return AlterUserScramCredentialsRequest(
            deletions=[],
            upsertions=[
                AlterUserScramCredentialsRequest.ScramCredentialUpsertion(
                    name=credential.user,
                    mechanism=int(credential.mechanism),
                    iterations=credential.iterations,
                    salt=credential.salt,
                    salted_password=credential.salted_password,
                )
            ],
        )

    return Call(
        what="AlterUserScramCredentials",
        request=AlterUserScramCredentialsRequest,
        response=AlterUserScramCredentialsResponse,
        oldest=0,
        newest=0,
        build=build,
        parse=lambda answer: next(((each.error_code, each.error_message or "") for each in answer.results), (-1, "")),
    )
