"""Principals of the source under the names that they have on the target.  (pure)"""

from __future__ import annotations

from collections.abc import Mapping

USER_PREFIX = "User:"

Principals = Mapping[str, str]
"""`User:app` of the source → `User:app-new` of the target; one that is not named keeps its name."""


def map_principal(principal: str, principals: Principals) -> str:
    """The target's name of a principal."""
    return principals.get(principal, principal)


def map_user(user: str, principals: Principals) -> str:
    """The target's name of a user, as quotas and credentials have it: without its type."""
    return map_principal(f"{USER_PREFIX}{user}", principals).removeprefix(USER_PREFIX)
