"""Which offset class every partition has, as the store has it: all that a command needs where offsets are identical.

Written and read without pydantic: it is asked for by commands that are to answer at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from kmigrate.kafka_types import Partition, TopicName, TopicPartition
from kmigrate.offsets.classes import OffsetClass

if TYPE_CHECKING:
    from kmigrate.state.store import Store


@dataclass(frozen=True, slots=True)
class RecordedClasses:
    """Partition → class; a partition that was begun before classes were decided is *identical*."""

    classes: Mapping[TopicPartition, OffsetClass]

    @classmethod
    def of(cls, store: Store) -> Self:
        """What the store has of all partitions."""
        found = dict.fromkeys(store.remembered(), OffsetClass.IDENTICAL) | store.offset_classes()
        return cls({tp: found[tp] for tp in sorted(found)})

    def to_json(self) -> str:
        """An object of topics, each an object of partitions and their classes."""
        topics: dict[str, dict[str, str]] = {}
        for tp, offset_class in self.classes.items():
            topics.setdefault(tp.topic, {})[str(tp.partition)] = offset_class.value
        return json.dumps({"topics": topics}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote."""
        return cls(
            {
                TopicPartition(TopicName(topic), Partition(int(number))): OffsetClass(name)
                for topic, partitions in json.loads(text)["topics"].items()
                for number, name in partitions.items()
            }
        )
