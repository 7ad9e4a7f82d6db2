"""What becomes of every SCRAM user of the source, and how a password becomes a credential.  (pure)

Credentials cannot be read from any cluster. So a user that the target has not is set from a reference in the manifest,
or listed with what must be done by hand. One that the target has stays as it is.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Collection, Mapping
from typing import NamedTuple

from kmigrate.security.principals import Principals, map_user
from kmigrate.wire.user_calls import Credentials, Salted, ScramMechanism

MIN_ITERATIONS = 4096
_HASHES = {ScramMechanism.SCRAM_SHA_256: "sha256", ScramMechanism.SCRAM_SHA_512: "sha512"}


class UserFate(enum.Enum):
    """What becomes of a user's credential."""

    SET = "set"
    PRESENT = "present"
    BY_HAND = "by hand"


class UserDecision(NamedTuple):
    """One credential of one user, by the target's name, its fate and why."""

    user: str
    mechanism: ScramMechanism
    iterations: int
    fate: UserFate
    reason: str


Given = Mapping[tuple[str, ScramMechanism], int]
"""The credentials for which the manifest names a password, by the target's user: iterations."""


def decide_users(
    source: Credentials, target: Credentials, given: Given, principals: Principals
) -> tuple[UserDecision, ...]:
    """Every credential of the source and of the manifest, in the order of users and mechanisms."""
    wanted: dict[tuple[str, ScramMechanism], int] = {}
    for user, credentials in source.items():
        for mechanism, iterations in credentials.items():
            wanted[map_user(user, principals), mechanism] = max(iterations, MIN_ITERATIONS)
    wanted |= given
    return tuple(
        UserDecision(user, mechanism, iterations, *_fate(user, mechanism, iterations, target, given))
        for (user, mechanism), iterations in sorted(wanted.items())
    )


def _fate(
    user: str,
    mechanism: ScramMechanism,
    iterations: int,
    target: Credentials,
    given: Collection[tuple[str, ScramMechanism]],
) -> tuple[UserFate, str]:
    if mechanism in target.get(user, {}):
        return UserFate.PRESENT, "the target has one; whether the password is the same cannot be told"
    if (user, mechanism) in given:
        return UserFate.SET, "its password comes from the manifest's reference"
    setting = f"{mechanism.words}=[iterations={iterations},password=...]"
    return (
        UserFate.BY_HAND,
        "no cluster tells a credential: name a reference in spec.users, or run kafka-configs.sh --alter"
        f" --entity-type users --entity-name {user} --add-config '{setting}'",
    )


def salt_password(user: str, mechanism: ScramMechanism, iterations: int, password: str, salt: bytes) -> Salted:
    """The credential that brokers keep (RFC 5802, Hi); the password itself is never sent."""
    salted = hashlib.pbkdf2_hmac(_HASHES[mechanism], password.encode(), salt, iterations)
    return Salted(user, mechanism, iterations, salt, salted)
