"""A migration's producer ids are derived from what it is, so that every copier of it is the same producer.

Brokers hand out ids from 0 upwards; ours lie in the upper half of the positive numbers, where an allocated
one never comes. A copier that lost its local state, or a second one started by mistake, writes under the same
id: the target's sequence check then refuses what would be a second append. Transaction markers have an id of their own:
one with the data's id would leave it without a sequence where the broker does not know it yet.
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


def back_name(migration: str) -> str:
    """What the copy back of a migration is called: a name of its own, so that it is another producer."""
    return f"{migration}-back"


def marker_producer_id(data_id: ProducerId) -> ProducerId:
    """The id under which the markers of the migration with this `producer_id` are written; in the same range."""
    return _beside(data_id, b"kmigrate markers")


def filler_producer_id(data_id: ProducerId) -> ProducerId:
    """The id under which its filler is written: a header is enough to tell it from data."""
    return _beside(data_id, b"kmigrate filler")


def late_producer_id(data_id: ProducerId) -> ProducerId:
    """The id under which records are appended that came late: beside what applications write, at other offsets."""
    return _beside(data_id, b"kmigrate late")


def mirror_producer_id(data_id: ProducerId, number: int) -> ProducerId:
    """The ids under which its state is mirrored: one for each so many epochs, as an epoch has 15 bits."""
    return _beside(data_id, b"kmigrate mirror" + number.to_bytes(8, "big"))


def producer_ids(data_id: ProducerId) -> tuple[ProducerId, ...]:
    """All ids of the migration with this `producer_id`."""
    return data_id, marker_producer_id(data_id), filler_producer_id(data_id)


def _beside(data_id: ProducerId, role: bytes) -> ProducerId:
    digest = hashlib.sha256(role + data_id.to_bytes(8, "big")).digest()
    room = _HIGHEST - LOWEST
    distance = 1 + int.from_bytes(digest[:16], "big") % (room - 1)  # never 0: the ids differ
    return ProducerId(LOWEST + (data_id - LOWEST + distance) % room)
