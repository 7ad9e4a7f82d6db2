"""Calls that read the settings of topics and brokers, and alter those of topics.

Sources: DescribeConfigsRequest.json, IncrementalAlterConfigsRequest.json; org.apache.kafka.clients.admin.ConfigEntry
for the config sources, AlterConfigOp for the operations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kmigrate.kafka_types import BrokerId, TopicName
from kmigrate.wire.call import Call
from kmigrate.wire.calls import TopicOutcome
from kmigrate.wire.library import (
    DescribeConfigsRequest,
    DescribeConfigsResponse,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)

_TOPIC_RESOURCE = 2
_BROKER_RESOURCE = 4
_TOPIC_CONFIG_SOURCE = 1
_UNITS_MS = {".hours": 3_600_000, ".minutes": 60_000}
_SET = 0
_DELETE = 1


class Setting(NamedTuple):
    """A setting that is in force; `is_override`: the topic has it of its own, not from its broker's defaults.

    `inherited` is what would be in force if it had not; None where that was not asked, or is not told.
    """

    value: str
    is_override: bool
    inherited: str | None = None


class Alteration(NamedTuple):
    """One setting of a topic made anew; None takes the topic's own value away, so that the broker's default counts."""

    key: str
    value: str | None

    def __str__(self) -> str:
        return f"{self.key} to the default" if self.value is None else f"{self.key}={self.value}"


Described = Mapping[str, tuple[int, Mapping[str, Setting]]]
"""Resource → (error code, key → setting). Keys that the broker does not know are left out."""


def describe_topic_configs(names: Sequence[TopicName], keys: Sequence[str]) -> Call[Described]:
    """The settings of topics."""
    return _describe_configs(_TOPIC_RESOURCE, names, keys)


def describe_topic_defaults(names: Sequence[TopicName]) -> Call[Described]:
    """All settings of topics, and what each topic would inherit."""
    return _describe_configs(_TOPIC_RESOURCE, names, None, inherited=True)


def describe_broker_configs(broker: BrokerId, keys: Sequence[str]) -> Call[Described]:
    """The settings of one broker; goes to that broker."""
    return _describe_configs(_BROKER_RESOURCE, [str(broker)], keys)


def broker_setting_names(broker: BrokerId) -> Call[frozenset[str] | None]:
    """The names of all settings that a broker has or knows, also of those whose values are secret; goes to that broker.

    A name that is not Kafka's own, as those of an authorizer, is among them only if it is set. None: it does not tell.
    """

    def parse(answer: Any) -> frozenset[str] | None:
        (resource,) = answer.results
        return None if resource.error_code else frozenset(config.name for config in resource.configs)

    asked = _describe_configs(_BROKER_RESOURCE, [str(broker)], None)
    return Call(
        what=asked.what,
        request=asked.request,
        response=asked.response,
        oldest=asked.oldest,
        newest=asked.newest,
        build=asked.build,
        parse=parse,
    )


def _describe_configs(
    kind: int, names: Sequence[str], keys: Sequence[str] | None, *, inherited: bool = False
) -> Call[Described]:
    def build(_version: int) -> Any:
        return DescribeConfigsRequest(
            resources=[
                DescribeConfigsRequest.DescribeConfigsResource(
                    resource_type=kind, resource_name=name, configuration_keys=None if keys is None else list(keys)
                )
                for name in names
            ],
            include_synonyms=inherited,
        )

    return Call(
        what="DescribeConfigs",
        request=DescribeConfigsRequest,
        response=DescribeConfigsResponse,
        oldest=1,
        newest=2,
        build=build,
        parse=lambda answer: {
            resource.resource_name: (
                resource.error_code,
                {
                    config.name: _setting(config, inherited=inherited)
                    for config in resource.configs
                    if config.value is not None
                },
            )
            for resource in answer.results
        },
    )


def _setting(config: Any, *, inherited: bool) -> Setting:
    is_override = config.config_source == _TOPIC_CONFIG_SOURCE
    if not inherited:
        return Setting(config.value, is_override)
    if not is_override:
        return Setting(config.value, is_override, config.value)
    below = (each for each in config.synonyms if each.source != _TOPIC_CONFIG_SOURCE and each.value is not None)
    found = next(below, None)
    return Setting(config.value, is_override, None if found is None else in_topic_units(found.name, found.value))


def in_topic_units(broker_key: str, value: str) -> str:
    """A broker's value as its topics have it: in milliseconds, where the broker counts hours or minutes."""
    for suffix, unit_ms in _UNITS_MS.items():
        if broker_key.endswith(suffix):
            return str(int(value) * unit_ms) if int(value) >= 0 else value
    return value


def alter_topic_configs(
    alterations: Mapping[TopicName, Sequence[Alteration]], *, validate_only: bool = False
) -> Call[Mapping[TopicName, TopicOutcome]]:
    """Alters settings of topics, of each topic all or none; others stay as they are. Goes to the controller.

    Needs ALTER_CONFIGS on the topic; one bad setting refuses its topic with INVALID_CONFIG.
    With `validate_only` none is altered.
    """

    def build(_version: int) -> Any:
        resource_class = IncrementalAlterConfigsRequest.AlterConfigsResource
        return IncrementalAlterConfigsRequest(
            resources=[
                resource_class(
                    resource_type=_TOPIC_RESOURCE,
                    resource_name=name,
                    configs=[
                        resource_class.AlterableConfig(
                            name=key, config_operation=_DELETE if value is None else _SET, value=value
                        )
                        for key, value in wanted
                    ],
                )
                for name, wanted in alterations.items()
            ],
            validate_only=validate_only,
        )

    return Call(
        what="IncrementalAlterConfigs",
        request=IncrementalAlterConfigsRequest,
        response=IncrementalAlterConfigsResponse,
        oldest=0,
        newest=1,
        build=build,
        parse=lambda answer: {
            TopicName(resource.resource_name): TopicOutcome(resource.error_code, resource.error_message or "")
            for resource in answer.responses
        },
    )
