"""The simulated brokers answer over the wire as real ones do; what is asked is the product's own."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable

import pytest

from kmigrate.errors import ConnectionLost, Unreachable
from kmigrate.kafka_types import Offset, Partition, ProducerId, Side, TopicName, TopicPartition
from kmigrate.wire import calls, fetch
from kmigrate.wire.gap_calls import LogStart, Markers, delete_records, write_markers
from tests.simulation.batches import TRANSACTIONAL, Record, make_batch
from tests.simulation.log import NOT_LEADER_OR_FOLLOWER, REQUEST_TIMED_OUT, TRANSACTION_COORDINATOR_FENCED, PartitionLog
from tests.simulation.network import (
    LATEST_ARRIVAL_SECONDS,
    MARKER_SECONDS,
    Clock,
    Cluster,
    SimulatedLink,
    SimulatedNetwork,
    Weather,
)

MARKERS = ProducerId((1 << 62) + 2)
A, B = (TopicPartition(TopicName("orders"), Partition(index)) for index in range(2))
APP = 7


class Bench:
    """Two clusters of two brokers with two partitions each, led by broker 1, and links to the target."""

    def __init__(self, seed: int = 1, **weather: float) -> None:
        self.clock = Clock()
        self.weather = Weather(**weather)
        chance = random.Random(seed)
        self.clusters = {side: Cluster(side, self.clock, chance, self.weather, 13) for side in Side}
        self.target = self.clusters[Side.TARGET]
        for cluster in self.clusters.values():
            for place in (A, B):
                cluster.logs[place] = PartitionLog("aa" * 16)
                cluster.leaders[place] = 1
        self.written: list[float] = []
        self.network = SimulatedNetwork(
            self.clusters, before_send=lambda framed: self.written.append(self.clock.now), timeout_seconds=100.0
        )

    def link(self) -> SimulatedLink:
        link = self.network.connect(Side.TARGET, self.target.address(1))
        assert isinstance(link, SimulatedLink)
        return link

    def pass_time(self, seconds: float) -> None:
        self.clock.wait(self.clock.now + seconds, lambda: False)

    def ends(self) -> tuple[int, int]:
        return self.target.logs[A].end, self.target.logs[B].end


def test_markers_of_several_partitions_travel_in_one_request() -> None:
    bench = Bench()
    seen: list[TopicPartition] = []
    bench.target.appended = seen.append
    assert bench.link().call(write_markers({A: Markers(3, 4), B: Markers(1, 4)}, MARKERS)) == {A: 0, B: 0}
    assert bench.ends() == (3, 1)
    assert (seen.count(A), seen.count(B)) == (3, 1)
    assert len(bench.written) == 1
    (known,) = bench.target.logs[A].known_producers()
    assert (known.producer_id, known.coordinator_epoch, known.last_sequence) == (MARKERS, 4, -1)


def test_an_older_term_is_fenced() -> None:
    bench = Bench()
    link = bench.link()
    link.call(write_markers({A: Markers(1, 4)}, MARKERS))
    assert link.call(write_markers({A: Markers(1, 3), B: Markers(1, 3)}, MARKERS)) == {
        A: TRANSACTION_COORDINATOR_FENCED,
        B: 0,
    }
    assert bench.ends() == (1, 1)


def test_a_broker_that_does_not_lead_says_so() -> None:
    bench = Bench()
    bench.target.leaders[A] = 2
    assert bench.link().call(write_markers({A: Markers(2, 1), B: Markers(2, 1)}, MARKERS)) == {
        A: NOT_LEADER_OR_FOLLOWER,
        B: 0,
    }
    assert bench.ends() == (0, 2)


def test_several_calls_asked_in_a_row_are_handled_one_after_the_other() -> None:
    bench = Bench()
    link = bench.link()
    asked = [write_markers({A: Markers(count, 1)}, MARKERS) for count in (1, 2)]
    latest = calls.list_offsets([A], calls.LATEST)
    for call in (*asked, latest):
        link.ask(call)
    assert not link.ready, "nothing was waited for"
    assert list(bench.network.wait([link], 10.0)) == [link]
    assert [link.answer(call) for call in asked] == [{A: 0}, {A: 0}]
    assert link.answer(latest)[A].offset == 3


def test_answers_are_read_in_the_order_of_asking() -> None:
    link = Bench().link()
    first, second = (calls.list_offsets([A], calls.LATEST) for _ in range(2))
    link.ask(first)
    link.ask(second)
    with pytest.raises(AssertionError, match="in the order"):
        link.answer(second)


def test_very_many_markers_keep_their_connection_busy_and_no_other() -> None:
    bench = Bench()
    busy, other = bench.link(), bench.link()
    markers = write_markers({A: Markers(2_000, 1)}, MARKERS)
    latest = calls.list_offsets([B], calls.LATEST)
    began = bench.clock.now
    busy.ask(markers)
    other.call(latest)
    assert not busy.ready
    assert busy.answer(markers) == {A: 0}
    assert bench.clock.now - began >= 2_000 * MARKER_SECONDS
    assert bench.ends() == (2_000, 0)


def test_markers_wait_for_followers_and_are_appended_meanwhile() -> None:
    bench = Bench()
    link = bench.link()
    bench.target.logs[A].freeze()
    markers = write_markers({A: Markers(2, 1), B: Markers(1, 1)}, MARKERS)
    link.ask(markers)
    bench.pass_time(20.0)
    assert (bench.ends(), link.ready) == ((2, 1), False)
    bench.target.logs[A].thaw()
    bench.target.poke()
    assert link.answer(markers) == {A: 0, B: 0}


@pytest.mark.parametrize(
    ("happens", "error"),
    [
        (lambda bench: bench.pass_time(31.0), REQUEST_TIMED_OUT),
        (
            lambda bench: bench.target.logs[A].elect(2, high_watermark=0, now_ms=0, drop_expired=False),
            NOT_LEADER_OR_FOLLOWER,
        ),
        (lambda bench: bench.target.leaders.update({A: 2}), NOT_LEADER_OR_FOLLOWER),
    ],
)
def test_errors_that_come_after_the_append_tell_nothing_about_it(happens: Callable[[Bench], None], error: int) -> None:
    bench = Bench()
    link = bench.link()
    bench.target.logs[A].freeze()
    markers = write_markers({A: Markers(2, 1)}, MARKERS)
    link.ask(markers)
    bench.pass_time(1.0)
    happens(bench)
    bench.target.poke()
    assert link.answer(markers) == {A: error}
    assert bench.ends() == (2, 0)


def test_one_answer_for_several_markers_can_hide_what_failed() -> None:
    """(error told, markers appended) of five that were asked, on brokers where one thing always goes wrong."""
    found = set()
    for seed in range(200):
        bench = Bench(seed, error=1.0)
        answer = bench.link().call(write_markers({A: Markers(5, 1)}, MARKERS))
        found.add((bool(answer[A]), bench.ends()[0]))
    assert (False, 4) in found, "one in the middle failed, and the last one's success is told"
    assert (True, 4) in found, "the last one failed"
    assert (True, 0) in found
    assert (True, 5) in found, "all were appended, and the last error came after that"
    assert (False, 5) in found, "an error in the middle that came after the append"


def test_a_waiting_marker_hides_one_that_was_refused_at_once() -> None:
    told = set()
    for seed in range(100):
        bench = Bench(seed, error=1.0)
        bench.target.logs[A].freeze()
        link = bench.link()
        markers = write_markers({A: Markers(2, 1)}, MARKERS)
        link.ask(markers)
        bench.pass_time(1.0)
        appended = bench.ends()[0]
        bench.target.logs[A].thaw()
        bench.target.poke()
        told.add((appended, link.answer(markers)[A]))
    assert (1, 0) in told, "also where the one that failed came last"
    assert bench.target.seen["markers"]


@pytest.mark.parametrize("late", [0.0, 1.0])
def test_markers_of_a_connection_that_ended_are_lost_or_come_late(late: float) -> None:
    bench = Bench(late=late)
    link = bench.link()
    link.ask(write_markers({A: Markers(2, 1)}, MARKERS))
    link.ask(delete_records({B: Offset(0)}, 1_000))
    link.ask(calls.list_offsets([A], calls.LATEST))
    link.close()
    assert bench.ends() == (0, 0)
    bench.pass_time(LATEST_ARRIVAL_SECONDS + 1.0)
    assert bench.ends() == ((2, 0) if late else (0, 0))
    assert bench.target.seen["late requests"] == (2 if late else 0), "what changes nothing is not kept"
    with pytest.raises(ConnectionLost):
        link.ask(calls.list_offsets([A], calls.LATEST))


def test_a_cut_leaves_the_outcome_of_markers_open() -> None:
    outcomes = set()
    for seed in range(60):
        bench = Bench(seed, cut=0.9, late=0.5)
        with contextlib.suppress(Unreachable):
            link = bench.link()
            with contextlib.suppress(ConnectionLost):
                link.call(write_markers({A: Markers(1, 1)}, MARKERS))
                continue
            bench.pass_time(LATEST_ARRIVAL_SECONDS + 1.0)
            outcomes.add(bench.ends()[0])
    assert outcomes == {0, 1}


# ── deletions ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_log_start_moves_up_to_the_high_watermark() -> None:
    bench = Bench()
    link = bench.link()
    link.call(write_markers({A: Markers(4, 1), B: Markers(2, 1)}, MARKERS))
    bench.target.logs[B].freeze()
    assert link.call(delete_records({A: Offset(3)}, 1_000)) == {A: LogStart(0, Offset(3))}
    assert link.call(delete_records({A: Offset(9)}, 1_000)) == {A: LogStart(1, Offset(-1))}
    assert link.call(delete_records({A: Offset(-1)}, 1_000)) == {A: LogStart(0, Offset(4))}
    assert link.call(delete_records({B: Offset(1)}, 1_000)) == {B: LogStart(REQUEST_TIMED_OUT, Offset(-1))}
    assert (bench.target.logs[A].log_start, bench.target.logs[B].log_start) == (4, 1)
    bench.target.logs[A].compact = True
    assert link.call(delete_records({A: Offset(4)}, 1_000))[A].error == 44


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────


def aborted_and_open(log: PartitionLog) -> None:
    """Offsets 0-1 aborted, 2 their marker, 3 plain, 4 open, 5 plain."""
    records = [Record(5, b"k", b"v")]
    log.write(make_batch(records * 2, attributes=TRANSACTIONAL, producer_id=APP, producer_epoch=0))
    log.write_marker(APP, 0, 0, 5, committed=False)
    log.write(make_batch(records))
    log.write(make_batch(records, attributes=TRANSACTIONAL, producer_id=APP, producer_epoch=0))
    log.write(make_batch(records))


@pytest.mark.parametrize(
    ("isolation_level", "records_until", "aborted"), [(0, 6, ()), (1, 4, ((APP, 0),))], ids=["all", "committed"]
)
@pytest.mark.parametrize("version", [12, 13])
def test_a_fetch_gets_what_its_isolation_level_may_see(
    version: int, isolation_level: int, records_until: int, aborted: tuple[tuple[int, int], ...]
) -> None:
    bench = Bench()
    aborted_and_open(bench.target.logs[A])
    link = bench.link()
    topic = fetch.topic_key(version, "orders", "aa" * 16)
    link.send(
        [
            fetch.serialize_fetch(
                version=version,
                correlation_id=9,
                client_id=b"us",
                max_wait_ms=100,
                max_bytes=1 << 20,
                isolation_level=isolation_level,
                session_id=0,
                session_epoch=-1,
                wishes={topic: [fetch.Wish(0, 0, 1, -1, 1 << 20), fetch.Wish(1, 0, 0, -1, 1 << 20)]},
                forgotten={},
            )
        ]
    )
    answer = link.receive(bytearray(1 << 16))
    first, second = fetch.parse_fetch(answer, version).partitions
    expected = b"".join(batch.data for batch in bench.target.logs[A].batches if batch.next <= records_until)
    assert bytes(answer[first.start : first.end]) == expected
    assert (first.high_watermark, first.last_stable_offset, first.aborted) == (6, 4, aborted)
    assert (second.high_watermark, second.last_stable_offset, second.aborted) == (0, 0, ())
    assert bench.written == [], "reading needs no lease"


def test_list_offsets_tells_the_last_stable_offset_to_who_reads_committed() -> None:
    bench = Bench()
    aborted_and_open(bench.target.logs[A])
    link = bench.link()
    for isolation_level, offset in ((calls.READ_UNCOMMITTED, 6), (calls.READ_COMMITTED, 4)):
        assert link.call(calls.list_offsets([A], calls.LATEST, isolation_level))[A].offset == offset


def test_describe_producers_tells_the_coordinator_epoch_and_open_transactions() -> None:
    bench = Bench()
    log = bench.target.logs[A]
    aborted_and_open(log)
    log.write_marker(MARKERS, 0, 12, 5)
    link = bench.link()
    call = calls.describe_producers([A])
    link.send([call.encode(0, 3, "us")])
    answer = call.response.decode(memoryview(bytes(link.receive(bytearray(1 << 16)))), version=0, header=True)
    (part,) = answer.topics[0].partitions
    assert {(p.producer_id, p.coordinator_epoch, p.current_txn_start_offset) for p in part.active_producers} == {
        (APP, 0, 4),
        (MARKERS, 12, -1),
    }
