"""A cluster that only has topics with settings, asked and altered through the bytes of real requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from kafka.protocol.admin.configs import (
    DescribeConfigsRequest,
    DescribeConfigsResponse,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)

from kmigrate.cluster.client import ClusterClient
from kmigrate.wire.call import Call
from kmigrate.wire.error_codes import ErrorCode

INVALID_CONFIG = 40
DEFAULTS = {
    "cleanup.policy": "delete",
    "retention.ms": "604800000",
    "retention.bytes": "-1",
    "compression.type": "producer",
    "message.timestamp.type": "CreateTime",
    "message.timestamp.before.max.ms": str(2**63 - 1),
    "message.timestamp.after.max.ms": "3600000",
    "max.message.bytes": "1048588",
    "delete.retention.ms": "86400000",
    "min.compaction.lag.ms": "0",
    "min.cleanable.dirty.ratio": "0.5",
    "segment.bytes": "1073741824",
    "segment.ms": "604800000",
}
"""What a 4.x broker gives a topic that has nothing of its own; no setting beside these is known."""
OLD_DEFAULTS = {key: value for key, value in DEFAULTS.items() if ".after." not in key and ".before." not in key} | {
    "message.timestamp.difference.max.ms": str(2**63 - 1)
}
"""The same of a broker before 3.6."""
BOTH_DEFAULTS = DEFAULTS | OLD_DEFAULTS
"""The same of 3.6 to 3.9."""


class SettingsCluster:
    """`topics` are the settings that each topic has of its own; `step` is called before and after each request."""

    def __init__(
        self, topics: Mapping[str, Mapping[str, str]], *, defaults: Mapping[str, str] = DEFAULTS, lag: int = 0
    ) -> None:
        """After an alteration, so many describing answers (`lag`) still tell what was before."""
        self.topics = {name: dict(own) for name, own in topics.items()}
        self.defaults = defaults
        self.alterations: list[dict[str, str | None]] = []
        self.errors: dict[str, int] = {}
        self.refused: set[str] = set()
        self.step: Callable[[str], None] = lambda _name: None
        self._lag = lag
        self._stale: list[dict[str, dict[str, str]]] = []

    @property
    def client(self) -> ClusterClient:
        return cast(ClusterClient, self)

    def any(self, call: Call[Any]) -> Any:
        self.step("describe")
        asked = DescribeConfigsRequest.decode(call.encode(2, 1, "us")[4:], version=2, header=True)
        shown = self._stale.pop() if self._stale else self.topics
        answer = DescribeConfigsResponse(
            version=2,
            results=[self._describe(each.resource_name, each.configuration_keys, shown) for each in asked.resources],
        )
        self.step("described")
        return _decoded(call, 2, answer)

    def _describe(self, name: str, keys: list[str], shown: Mapping[str, Mapping[str, str]]) -> Any:
        result_class = DescribeConfigsResponse.DescribeConfigsResult
        error = self.errors.get(name) or (0 if name in shown else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        own = shown.get(name, {})
        return result_class(
            error_code=error,
            error_message=None,
            resource_type=2,
            resource_name=name,
            configs=[]
            if error
            else [
                result_class.DescribeConfigsResourceResult(
                    name=key,
                    value=own.get(key, self.defaults[key]),
                    read_only=False,
                    config_source=1 if key in own else 5,
                    is_sensitive=False,
                    synonyms=[],
                )
                for key in keys
                if key in self.defaults
            ],
        )

    def controller(self, call: Call[Any]) -> Any:
        self.step("alter")
        asked = IncrementalAlterConfigsRequest.decode(call.encode(1, 1, "us")[4:], version=1, header=True)
        responses = []
        for each in asked.resources:
            wanted = {config.name: config.value if config.config_operation == 0 else None for config in each.configs}
            error = INVALID_CONFIG if not self.defaults.keys() >= wanted.keys() or self.refused & wanted.keys() else 0
            if not error:
                self._alter(each.resource_name, wanted)
            responses.append(
                IncrementalAlterConfigsResponse.AlterConfigsResourceResponse(
                    error_code=error,
                    error_message="bad value" if error else None,
                    resource_type=2,
                    resource_name=each.resource_name,
                )
            )
        self.step("altered")
        return _decoded(call, 1, IncrementalAlterConfigsResponse(version=1, responses=responses))

    def _alter(self, name: str, wanted: dict[str, str | None]) -> None:
        before = {topic: dict(own) for topic, own in self.topics.items()}
        self._stale = [before] * self._lag
        self.alterations.append(wanted)
        for key, value in wanted.items():
            if value is None:
                self.topics[name].pop(key, None)
            else:
                self.topics[name][key] = value


def _decoded(call: Call[Any], version: int, answer: Any) -> Any:
    answer.with_header(correlation_id=1)
    return call.decode(version, answer.encode(header=True))
