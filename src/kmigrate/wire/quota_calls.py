"""Calls that read the quotas of clients, and set them.

Sources: DescribeClientQuotasRequest.json, AlterClientQuotasRequest.json (KIP-546).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from kmigrate.wire.call import Call
from kmigrate.wire.library import (
    AlterClientQuotasRequest,
    AlterClientQuotasResponse,
    DescribeClientQuotasRequest,
    DescribeClientQuotasResponse,
)

Entity = tuple[tuple[str, str | None], ...]
"""Type and name of each part, sorted by type (`user`, `client-id`, `ip`); the name None: the default for all."""


class QuotasTold(NamedTuple):
    """What a cluster told: an error code and message, and the quotas of every entity."""

    error: int
    message: str
    quotas: Mapping[Entity, Mapping[str, float]]


def describe_client_quotas() -> Call[QuotasTold]:
    """The quotas of every entity; needs DESCRIBE_CONFIGS on the cluster."""
    return Call(
        what="DescribeClientQuotas",
        request=DescribeClientQuotasRequest,
        response=DescribeClientQuotasResponse,
        oldest=0,
        newest=1,
        build=lambda _version: DescribeClientQuotasRequest(components=[], strict=False),
        parse=lambda answer: QuotasTold(
            answer.error_code,
            answer.error_message or "",
            {_entity(each.entity): {value.key: value.value for value in each.values} for each in answer.entries or ()},
        ),
    )


def alter_client_quotas(quotas: Mapping[Entity, Mapping[str, float]]) -> Call[Mapping[Entity, tuple[int, str]]]:
    """Sets these values, and leaves all others; needs ALTER_CONFIGS on the cluster. Goes to the controller.

    Error code and message of every entity.
    """

    def build(_version: int) -> Any:
        entry_class = AlterClientQuotasRequest.EntryData
        return AlterClientQuotasRequest(
            entries=[
                entry_class(
                    entity=[entry_class.EntityData(entity_type=kind, entity_name=name) for kind, name in entity],
                    ops=[entry_class.OpData(key=key, value=value, remove=False) for key, value in values.items()],
                )
                for entity, values in quotas.items()
            ],
            validate_only=False,
        )

    return Call(
        what="AlterClientQuotas",
        request=AlterClientQuotasRequest,
        response=AlterClientQuotasResponse,
        oldest=0,
        newest=1,
        build=build,
        parse=lambda answer: {
            _entity(each.entity): (each.error_code, each.error_message or "") for each in answer.entries
        },
    )


def _entity(parts: Any) -> Entity:
    return tuple(sorted(((each.entity_type, each.entity_name) for each in parts), key=lambda part: part[0]))
