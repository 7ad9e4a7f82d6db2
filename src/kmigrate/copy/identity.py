"""A migration's producer id is derived from what it is, so that every copier of it is the same producer.

Brokers hand out ids from 0 upwards; ours lie in the upper half of the positive numbers, where an allocated
one never comes. A copier that lost its local state, or a second one started by mistake, writes under the same
id: the target's sequence check then refuses what would be a second append.
"""

from __future__ import annotations

import hashlib

from kmigrate.kafka_types import ProducerId

LOWEST = 1 << 62
_HIGHEST = (1 << 63) - 1  # kept free: Kafka's int64 maximum


def producer_id(source_cluster_id: str, target_cluster_id: str, name: str) -> ProducerId:
    """The id under which data of this migration is written: at least 2^62, below 2^63 - 1."""
    digest = hashlib.sha256(b"kmigrate data")
    for part in (source_cluster_id, target_cluster_id, name):
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
    return ProducerId(LOWEST + int.from_bytes(digest.digest()[:16], "big") % (_HIGHEST - LOWEST))
