"""Looks at who writes in transactions on a cluster just now, and to which topics, for a plan; reads only.

Brokers tell the topics of a transactional id only while its transaction is open, and an id that we may not describe is
left out of the list without a word: so what is found is true, and never all there is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence

from kmigrate.cluster.client import ClusterClient
from kmigrate.errors import ClusterError
from kmigrate.kafka_types import BrokerId, TopicName
from kmigrate.wire import transaction_calls
from kmigrate.wire.error_codes import ErrorCode

_OPEN = ("Ongoing", "PrepareCommit", "PrepareAbort")
_AT_ONCE = 100


def look_at_transactions(client: ClusterClient, brokers: Iterable[BrokerId]) -> dict[str, frozenset[TopicName]]:
    """Transactional ids with an open transaction, and the topics that it writes to, as far as brokers tell."""
    found: dict[str, frozenset[TopicName]] = {}
    for broker in brokers:
        with contextlib.suppress(ClusterError):  # brokers before 3.0 do not tell
            listed = client.broker(broker, transaction_calls.list_transactions([]))
            names = [each.transactional_id for each in listed.transactions if each.state in _OPEN]
            for some in _pieces(names):
                told = client.broker(broker, transaction_calls.describe_transactions(some))
                for name, each in told.items():
                    topics = frozenset(partition.topic for partition in each.partitions)
                    if each.error == ErrorCode.NONE and topics:
                        found[name] = topics
    return found


def _pieces(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for at in range(0, len(names), _AT_ONCE):
        yield names[at : at + _AT_ONCE]
