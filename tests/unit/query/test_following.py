"""A tail shows the newest records of both sides, then everything that arrives, each once."""

from __future__ import annotations

from itertools import islice

import pytest

from kmigrate.errors import ClusterError, ConnectionLost
from kmigrate.kafka_types import Side
from kmigrate.query.conditions import Filter
from kmigrate.query.following import Arrived, Following
from kmigrate.query.sides import ClusterSide
from kmigrate.wire.error_codes import ErrorCode
from tests.simulation.batches import Record, make_batch
from tests.simulation.readers import partition_of

from .conftest import Clusters

ONE = partition_of("orders", 0)


def write(clusters: Clusters, side: Side, *values: bytes, time: int = 1) -> None:
    clusters.log(side, ONE).write(make_batch([Record(time, None, value) for value in values]))


def told(arrived: list[Arrived]) -> list[tuple[str, bytes | None]]:
    return [(each.side.value, each.record.contents.value) for each in arrived]


class Tail:
    """A tail over both clusters whose readers a test can reach."""

    def __init__(self, clusters: Clusters) -> None:
        self.clusters = clusters
        self.said: list[str] = []
        self.sides: list[ClusterSide] = clusters.sides()
        partitions = clusters.partitions(self.sides)
        self.following = Following(self.sides, partitions, Filter(), self.said.append, sleep=lambda _seconds: None)

    def next(self, count: int) -> list[tuple[str, bytes | None]]:
        return told(list(islice(self.following.follow(), count)))


def test_the_newest_come_first_and_then_what_arrives(clusters: Clusters) -> None:
    clusters.both(ONE)
    for time, value in enumerate((b"a", b"b", b"c")):
        write(clusters, Side.SOURCE, value, time=time)
    write(clusters, Side.TARGET, b"a", time=0)
    tail = Tail(clusters)
    assert told(tail.following.newest(2)) == [("target", b"a"), ("source", b"b"), ("source", b"c")]
    write(clusters, Side.TARGET, b"b", b"c")
    write(clusters, Side.SOURCE, b"d")
    assert tail.next(3) == [("source", b"d"), ("target", b"b"), ("target", b"c")]
    assert tail.said == []


def test_a_cluster_that_goes_away_is_told_of_once_and_waited_for(clusters: Clusters) -> None:
    clusters.both(ONE)
    tail = Tail(clusters)
    tail.following.newest(0)
    source, fetch, failures = tail.sides[0], tail.sides[0].fetch_some, [1, 2, 3]

    def fail(*arguments: object, **named: object) -> object:
        if failures:
            failures.pop()
            raise ConnectionLost("gone", side=Side.SOURCE)
        return fetch(*arguments, **named)  # type: ignore[arg-type]

    source.fetch_some = fail  # type: ignore[assignment, method-assign]
    write(clusters, Side.SOURCE, b"a")
    assert tail.next(1) == [("source", b"a")]
    assert tail.said == ["source cluster: gone: waiting for it", "the source cluster answers again"]


def test_a_log_that_was_trimmed_past_it_is_told(clusters: Clusters) -> None:
    clusters.both(ONE)
    tail = Tail(clusters)
    tail.following.newest(0)
    for value in (b"a", b"b", b"c"):
        write(clusters, Side.SOURCE, value)
    clusters.logs[Side.SOURCE][ONE].delete_records(2)
    assert tail.next(1) == [("source", b"c")]
    assert tail.said == ["orders-0@0 on the source is not there any more: goes on at 2"]


def test_a_refusal_ends_it(clusters: Clusters) -> None:
    clusters.both(ONE)
    tail = Tail(clusters)
    tail.following.newest(0)
    tail.sides[0].fetch_some({ONE: clusters.logs[Side.SOURCE][ONE].end}, 1)  # type: ignore[dict-item]
    link = tail.sides[0]._client.link(0)
    link.error = lambda _what, _partition: ErrorCode.TOPIC_AUTHORIZATION_FAILED  # type: ignore[attr-defined]
    with pytest.raises(ClusterError, match="orders-0@0 cannot be read: TOPIC_AUTHORIZATION_FAILED"):
        tail.next(1)
