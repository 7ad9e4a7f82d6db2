"""What becomes of every client quota of the source.  (pure)

A value that the target has not is set; one that it has otherwise stays as it is, and is told. Nothing is taken away.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from typing import NamedTuple

from kmigrate.security.principals import Principals, map_user
from kmigrate.wire.quota_calls import Entity

USER, CLIENT_ID = "user", "client-id"
DEFAULT_NAME = "<default>"

Quotas = Mapping[Entity, Mapping[str, float]]


class QuotaFate(enum.Enum):
    """What becomes of a quota."""

    SET = "set"
    PRESENT = "present"
    DIFFERENT = "different"
    LEFT_OUT = "left out"


class QuotaDecision(NamedTuple):
    """One value of one entity, as the target would have it, its fate and why."""

    entity: Entity
    key: str
    value: float
    fate: QuotaFate
    reason: str


def decide_quotas(
    source: Quotas, target: Quotas, principals: Principals, own_client_ids: Collection[str]
) -> tuple[QuotaDecision, ...]:
    """Every quota of the source, in the order of entities and keys; those of our own client ids stay behind."""
    found: dict[tuple[str, str], QuotaDecision] = {}
    for entity in sorted(source, key=name_entity):
        wanted = _mapped(entity, principals)
        for key, value in sorted(source[entity].items()):
            if dict(entity).get(CLIENT_ID) in own_client_ids:
                fate, reason = QuotaFate.LEFT_OUT, "it is kmigrate's own"
            else:
                fate, reason = _fate(value, target.get(wanted, {}).get(key))
            found.setdefault((name_entity(wanted), key), QuotaDecision(wanted, key, value, fate, reason))
    return tuple(found[place] for place in sorted(found))


def _fate(value: float, there: float | None) -> tuple[QuotaFate, str]:
    if there is None:
        return QuotaFate.SET, "as on the source; it counts for each broker"
    if there == value:
        return QuotaFate.PRESENT, "the target has it"
    return QuotaFate.DIFFERENT, f"the target has {show_value(there)}, which stays"


def _mapped(entity: Entity, principals: Principals) -> Entity:
    return tuple(
        (kind, map_user(name, principals) if kind == USER and name is not None else name) for kind, name in entity
    )


def name_entity(entity: Entity) -> str:
    """`user app, client-id reader`; the default for all is `<default>`."""
    return ", ".join(f"{kind} {DEFAULT_NAME if name is None else name}" for kind, name in entity)


def show_value(value: float) -> str:
    """A whole number without its point."""
    return str(int(value)) if value == int(value) else str(value)
