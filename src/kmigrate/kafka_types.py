"""Kafka's own words as types; no logic.

Spelled as Kafka's protocol files spell them, so that two numbers which mean different things cannot be mixed up.
"""

from __future__ import annotations

import enum
from typing import NamedTuple, NewType

TopicName = NewType("TopicName", str)
Partition = NewType("Partition", int)
Offset = NewType("Offset", int)
"""A record's place in a partition's log."""
LeaderEpoch = NewType("LeaderEpoch", int)
BrokerId = NewType("BrokerId", int)
TopicId = NewType("TopicId", str)
"""A topic's UUID as 32 hexadecimal digits; the same name created again has another one."""
ProducerId = NewType("ProducerId", int)
Sequence = NewType("Sequence", int)
"""A batch's base sequence: 0 to 2^31 - 1, then 0 again."""
Term = NewType("Term", int)
"""The lease's number: the generation of the group that keeps it."""

UNKNOWN_EPOCH = LeaderEpoch(-1)
LARGEST_OFFSET = Offset(2**63 - 1)
NO_TOPIC_ID = TopicId("0" * 32)


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: TopicName
    partition: Partition

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


class BrokerAddress(NamedTuple):
    """Where a broker can be reached, as it advertises itself."""

    node_id: BrokerId
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port} (id {self.node_id})"


class Side(enum.Enum):
    """Which of the two clusters is meant; messages to users name it."""

    SOURCE = "source"
    TARGET = "target"

    def __str__(self) -> str:
        return self.value
