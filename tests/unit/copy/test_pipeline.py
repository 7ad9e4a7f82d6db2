"""A pipeline takes turns: what it sends, what it leaves alone, how it tells of trouble; network and clock simulated."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Sequence

import pytest

from kmigrate.cluster.network import Link
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.copy import merging
from kmigrate.copy.copier import BRAKED
from kmigrate.copy.links import Purpose
from kmigrate.copy.orders import LeaseGrant, PartitionOrder, PipelineKey, PipelineOrder, WorkerSettings
from kmigrate.copy.pipeline import LAST_BACK_OFF_SECONDS, Pipeline
from kmigrate.copy.progress import PartitionProgress, PipelineProgress
from kmigrate.copy.rates import UNLIMITED, Rate, Rates
from kmigrate.copy.spending import HELD_UP, Cause
from kmigrate.copy.states import PartitionState, StopKind
from kmigrate.copy.tally import LATENCY_SECONDS
from kmigrate.copy.throttle import Throttle
from kmigrate.kafka_types import (
    BrokerAddress,
    BrokerId,
    LeaderEpoch,
    Partition,
    ProducerId,
    Side,
    Term,
    TopicId,
    TopicName,
    TopicPartition,
)
from tests.simulation.batches import Record, decode, make_batch
from tests.simulation.log import DAY_MS, PartitionLog
from tests.simulation.network import Clock, Cluster, SimulatedLink, SimulatedNetwork, Weather

OURS = ProducerId(2**62 + 3)
KEY = PipelineKey(0, BrokerId(1), BrokerId(1), 0)
EVER = LeaseGrant(term=Term(1), deadline_seconds=float("inf"))
NOW_MS = 1_760_001_000_000


class Bench:
    """One pipeline between two calm clusters, some partitions of one topic."""

    def __init__(
        self, partitions: int = 1, *, version: int = 13, buffer_bytes: int = 100_000, timeout_ms: int = 30_000
    ) -> None:
        self.clock = Clock()
        self.chance = random.Random(1)
        self.weather = Weather()
        self.source = Cluster(Side.SOURCE, self.clock, self.chance, self.weather, version)
        self.target = Cluster(Side.TARGET, self.clock, self.chance, self.weather, version)
        self.places = [TopicPartition(TopicName("orders"), Partition(n)) for n in range(partitions)]
        for cluster, topic_id in ((self.source, "aa" * 16), (self.target, "bb" * 16)):
            for place in self.places:
                cluster.logs[place] = PartitionLog(topic_id)
                cluster.leaders[place] = 1
        self.sends: list[float] = []
        self.connects = 0
        bench = self

        class Network(SimulatedNetwork):
            def connect(self, side, address):  # type: ignore[no-untyped-def]
                bench.connects += 1
                return super().connect(side, address)

        self.network = Network(
            {Side.SOURCE: self.source, Side.TARGET: self.target},
            timeout_seconds=timeout_ms / 1000,
            before_send=lambda framed: self.sends.append(self.clock.now),
        )
        settings = WorkerSettings(
            worker=0,
            links=dict.fromkeys(Side, ConnectionSettings(client_id="kmigrate", request_timeout_ms=timeout_ms)),
            producer_id=OURS,
            memory_bytes=1 << 20,
            expiration_ms=DAY_MS,
        )
        self.throttle = Throttle()
        self.pipeline = Pipeline(
            KEY, settings, self.network, self.source.address(1), self.target.address(1), buffer_bytes, self.throttle
        )
        self.number = 1
        self.order: PipelineOrder | None = self.ordered(self.places)
        self.paused = False
        self.grant = EVER
        self.reports: list[PipelineProgress] = []
        self.seen: dict[TopicPartition, PartitionProgress] = {}

    def ordered(self, places: Sequence[TopicPartition], **change: object) -> PipelineOrder:
        parts = tuple(
            PartitionOrder(
                partition=place,
                source_topic_id=TopicId("aa" * 16),
                source_epoch=LeaderEpoch(self.source.logs[place].leader_epoch),
                target_topic_id=TopicId("bb" * 16),
                target_epoch=LeaderEpoch(self.target.logs[place].leader_epoch),
                remembered=None,
                fresh=True,
                revision=0,
            )._replace(**change)
            for place in places
        )
        return PipelineOrder(key=KEY, source=self.source.address(1), target=self.target.address(1), partitions=parts)

    def give(self, order: PipelineOrder | None) -> None:
        self.order = order
        self.number += 1

    def write(self, place: TopicPartition, batches: int = 1, *, size: int = 100, age_ms: int = 0) -> None:
        for _ in range(batches):
            value = self.source.logs[place].end.to_bytes(4, "big") + b"v" * size
            self.source.logs[place].write(make_batch([Record(NOW_MS - age_ms, None, value)] * 2))
        self.source.poke()

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            report = self.pipeline.turn(self.order, self.number, self.paused, self.grant, {})
            if report is not None:
                self.reports.append(report)
                self.seen.update((each.partition, each) for each in report.partitions)

    def pass_time(self, seconds: float) -> None:
        until = self.clock.now + seconds
        while self.clock.now < until:
            self.turn()

    def copied(self, place: TopicPartition) -> bool:
        source, target = self.source.logs[place], self.target.logs[place]
        left, right = ([r for b in log.batches for r in decode(b.data)] for log in (source, target))
        return left == right

    def state(self, place: TopicPartition) -> PartitionState:
        return self.seen[place].state

    def released(self) -> list[TopicPartition]:
        return [place for report in self.reports for place in report.released]

    def troubles(self) -> list[str]:
        return [words for r in self.reports for words in (r.source_trouble, r.target_trouble) if words]


@pytest.mark.parametrize("version", [12, 13, 17])
def test_everything_is_copied_and_reported_in_sync(version: int) -> None:
    bench = Bench(3, version=version)
    for place in bench.places:
        bench.write(place, 20)
    bench.pass_time(3)
    for place in bench.places:
        assert bench.copied(place)
        assert (bench.state(place), bench.seen[place].position) == (PartitionState.IN_SYNC, 40)
    assert bench.troubles() == []


def test_what_is_written_later_follows() -> None:
    bench = Bench()
    bench.pass_time(1)
    bench.write(bench.places[0], 3)
    bench.pass_time(1)
    assert bench.copied(bench.places[0])


def test_a_batch_larger_than_the_buffer_is_copied() -> None:
    bench = Bench(2, buffer_bytes=1_000)
    for place in bench.places:
        bench.write(place, 3, size=200_000)
    bench.pass_time(3)
    assert all(bench.copied(place) for place in bench.places)


@pytest.mark.parametrize(
    ("near", "buffer_bytes", "largest"),
    [(True, 16 << 20, 3 << 20), (False, 16 << 20, 16 << 20), (True, 1 << 20, 1 << 20)],
)
def test_only_a_far_source_is_asked_for_the_whole_buffer(near: bool, buffer_bytes: int, largest: int) -> None:
    bench = Bench(2, buffer_bytes=buffer_bytes)
    bench.network.near = near
    for place in bench.places:
        bench.write(place, 3)
    bench.pass_time(3)
    assert all(bench.copied(place) for place in bench.places)
    assert bench.source.largest_fetch == largest


def test_many_idle_partitions_are_named_once() -> None:
    bench = Bench(300)
    bench.pass_time(10)
    assert bench.source.seen["fetch requests"] > 10
    assert bench.source.seen["wishes"] == 300
    assert {seen.state for seen in bench.seen.values()} == {PartitionState.IN_SYNC}


def test_an_idle_partition_tells_now_and_then_that_nothing_was_missing() -> None:
    bench = Bench(2)
    bench.order = bench.ordered(bench.places, delete_retention_ms=20_000)
    bench.write(bench.places[0])
    bench.pass_time(1)
    reports = len(bench.reports)
    bench.pass_time(30)
    assert all(seen.even_ms > bench.network.wall_ms() - 4_000 for seen in bench.seen.values())
    assert 10 <= len(bench.reports) - reports <= 40
    bench.write(bench.places[0])
    bench.pass_time(1)
    assert bench.copied(bench.places[0])


@pytest.mark.parametrize("side", Side)
def test_an_idle_partition_is_heard_after_a_lost_connection_as_before(side: Side) -> None:
    bench = Bench(2)
    bench.order = bench.ordered(bench.places, delete_retention_ms=20_000)
    bench.write(bench.places[0])
    bench.pass_time(1)
    bench.pipeline._drop_links(side, "cut")
    bench.pass_time(30)
    assert all(seen.even_ms > bench.network.wall_ms() - 4_000 for seen in bench.seen.values())
    for place in bench.places:
        bench.write(place)
    bench.pass_time(1)
    assert all(bench.copied(place) for place in bench.places)


def test_what_was_written_while_the_copier_was_paused_for_too_long_stops() -> None:
    bench = Bench(2)
    bench.order = bench.ordered(bench.places, delete_retention_ms=20_000)
    for place in bench.places:
        bench.write(place)
    bench.pass_time(1)
    bench.paused = True
    bench.pass_time(25)
    bench.write(bench.places[0])
    bench.paused = False
    bench.pass_time(1)
    stop = bench.seen[bench.places[0]].stop
    assert stop is not None
    assert (stop.kind, stop.offset) == (StopKind.TOMBSTONES_MAY_BE_LOST, 2)
    assert bench.state(bench.places[1]) is PartitionState.IN_SYNC, "nothing was written there"


def test_a_broker_that_speaks_another_version_after_its_restart_is_asked_in_that() -> None:
    bench = Bench(2, version=13)
    bench.pass_time(1)
    bench.source.brokers[1].stop()
    bench.source.brokers[1].up = True
    bench.source.fetch_version = 12
    for place in bench.places:
        bench.write(place, 5)
    bench.pass_time(10)
    before = len(bench.troubles())
    assert all(bench.copied(place) for place in bench.places)
    bench.pass_time(10)
    assert len(bench.troubles()) == before, "nothing of the old wishes is left"


# ── the lease, pauses, throttles ──────────────────────────────────────────────────────────────────────────────


def test_nothing_is_sent_after_the_lease_has_ended() -> None:
    bench = Bench()
    bench.grant = LeaseGrant(term=Term(1), deadline_seconds=bench.clock.now + 1.0)
    bench.pass_time(2)
    bench.write(bench.places[0], 5)
    bench.pass_time(5)
    assert bench.sends == []
    assert bench.seen[bench.places[0]].reason == "waiting for the lease on the target"
    bench.grant = LeaseGrant(term=Term(2), deadline_seconds=bench.clock.now + 100)
    bench.pass_time(2)
    assert bench.copied(bench.places[0])


def test_sessions_are_renewed_while_nothing_is_in_flight_and_everything_is_copied() -> None:
    bench = Bench(3)
    renewed: list[float] = []
    bench.network.session_seconds = 0.2
    bench.network.renewed = lambda link: renewed.append(bench.clock.now)
    for place in bench.places:
        bench.write(place, 200)
    bench.pass_time(10)
    assert all(bench.copied(place) for place in bench.places)
    assert len(renewed) > 10
    assert bench.troubles() == []


def test_nothing_is_sent_when_the_lease_runs_out_while_a_session_is_renewed() -> None:
    bench = Bench()
    bench.network.session_seconds = 2.0
    bench.pass_time(1)
    ends = bench.clock.now + 30.0
    bench.grant = LeaseGrant(term=Term(1), deadline_seconds=ends)
    bench.write(bench.places[0])
    bench.pass_time(1.5)
    assert bench.sends != []
    renewed: list[float] = []

    def slow(link: SimulatedLink) -> None:
        if link.producing:
            renewed.append(bench.clock.now)
            bench.clock.wait(ends + 1.0, lambda: False)

    bench.network.renewed = slow
    bench.pass_time(2.0)
    bench.write(bench.places[0])
    bench.pass_time(60)
    assert renewed
    assert max(bench.sends) < ends


def test_nothing_is_sent_when_the_lease_runs_out_while_a_link_is_opened() -> None:
    bench = Bench()
    ends = bench.clock.now + 30.0
    bench.grant = LeaseGrant(term=Term(1), deadline_seconds=ends)
    bench.pass_time(1)
    connect = bench.network.connect

    def slow(side: Side, address: BrokerAddress) -> Link:
        bench.clock.wait(ends + 1.0, lambda: False)
        return connect(side, address)

    bench.network.connect = slow  # type: ignore[method-assign]
    bench.write(bench.places[0])
    bench.pass_time(60)
    assert bench.sends == []


def test_without_a_lease_nothing_is_ever_sent() -> None:
    bench = Bench()
    bench.grant = LeaseGrant(term=Term(-1), deadline_seconds=float("-inf"))
    bench.write(bench.places[0])
    bench.pass_time(5)
    assert bench.sends == []


def test_a_paused_partition_appends_nothing_and_goes_on_where_it_was() -> None:
    bench = Bench()
    bench.write(bench.places[0], 3)
    bench.pass_time(1)
    bench.paused = True
    bench.turn()
    sent = len(bench.sends)
    bench.write(bench.places[0], 3)
    bench.pass_time(3)
    assert len(bench.sends) == sent
    assert bench.state(bench.places[0]) is PartitionState.PAUSED
    bench.paused = False
    bench.pass_time(2)
    assert bench.copied(bench.places[0])
    assert bench.state(bench.places[0]) is PartitionState.IN_SYNC


def held_up(bench: Bench) -> dict[Cause, float]:
    """Seconds by what held the pipeline up, as it told last."""
    spent = bench.reports[-1].spent
    return {cause: spent.of(cause) for cause in HELD_UP if spent.of(cause)}


def test_a_rate_far_below_the_buffer_is_kept_without_taking_links_for_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next fetch answer lies unread for longer than the request time-out: nobody looked at it, it was not lost."""
    monkeypatch.setattr(merging, "MERGED_BYTES", 0)
    bench = Bench(timeout_ms=1_000)
    bench.throttle.set_rates(Rates.together(1_000))
    bench.write(bench.places[0], 20, size=500)
    bench.pass_time(40)
    assert bench.copied(bench.places[0])
    assert bench.troubles() == []
    assert bench.clock.now - 1000.0 > 20, "the rate was kept"
    waited = held_up(bench)
    assert waited.keys() == {Cause.LIMIT}
    assert 0 < waited[Cause.LIMIT] < bench.clock.now - 1000.0


def test_every_batch_is_counted_once_by_its_age() -> None:
    bench = Bench(2)
    for place in bench.places:
        bench.write(place, 20, age_ms=90_000)
    bench.pass_time(5)
    assert all(map(bench.copied, bench.places))
    found = [latencies for report in bench.reports for _, latencies in report.latencies]
    batches = sum(sum(each.counts) for each in found)
    assert 0 < batches <= 40
    assert sum(each.counts[bisect(LATENCY_SECONDS, 90)] for each in found) == batches, "all were that old"
    assert 90_000 * batches <= sum(each.sum_ms for each in found) < 100_000 * batches
    assert held_up(bench) == {}


def test_nothing_is_sent_while_a_quota_of_the_target_is_exceeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker would read it when the quota lets it: perhaps long after our end."""
    monkeypatch.setattr(merging, "MERGED_BYTES", 0)
    bench = Bench(timeout_ms=1_000)
    bench.target.weather = Weather(throttle=1.0)
    for _ in range(10):
        bench.write(bench.places[0], age_ms=3 * DAY_MS)  # not guarded: one request at a time
        bench.pass_time(0.05)
    bench.pass_time(30)
    assert bench.copied(bench.places[0])
    assert bench.troubles() == []
    assert len(bench.sends) > 5
    assert bench.target.seen["sent into a quota"] == 0
    assert "held by a quota of the target cluster" in {each.reason for r in bench.reports for each in r.partitions}
    assert held_up(bench)[Cause.TARGET_QUOTA] > 0


def test_the_source_is_not_asked_while_its_quota_is_exceeded() -> None:
    bench = Bench(timeout_ms=1_000)
    bench.source.weather = Weather(throttle=1.0)
    for _ in range(10):
        bench.write(bench.places[0])
        bench.pass_time(0.5)
    bench.pass_time(30)
    assert bench.copied(bench.places[0])
    assert bench.troubles() == []
    assert bench.source.seen["quotas"] > 5
    assert bench.source.seen["sent into a quota"] == 0
    assert held_up(bench).keys() == {Cause.SOURCE_QUOTA}


# ── giving partitions up ──────────────────────────────────────────────────────────────────────────────────────


def test_a_partition_that_is_ordered_no_more_is_released_at_once() -> None:
    bench = Bench(2)
    bench.pass_time(1)
    bench.give(bench.ordered(bench.places[:1]))
    bench.turn()
    assert bench.released() == bench.places[1:]
    bench.give(None)
    bench.turn()
    assert sorted(bench.released()) == bench.places


def with_one_in_flight() -> Bench:
    """The append lies in the log, but followers are frozen: its answer is held back."""
    bench = Bench(timeout_ms=10_000)
    bench.pass_time(1)
    bench.target.logs[bench.places[0]].freeze()
    bench.write(bench.places[0])
    bench.pass_time(1)
    assert bench.target.logs[bench.places[0]].end == 2
    assert bench.seen[bench.places[0]].position == 0
    return bench


def test_a_partition_is_not_released_while_something_of_it_is_in_flight() -> None:
    bench = with_one_in_flight()
    bench.give(None)
    bench.pass_time(2)
    assert bench.released() == []
    bench.target.logs[bench.places[0]].thaw()
    bench.target.poke()
    bench.pass_time(1)
    assert bench.released() == bench.places


def test_a_lost_connection_releases_what_was_in_flight() -> None:
    bench = with_one_in_flight()
    bench.give(None)
    bench.pass_time(1)
    bench.target.brokers[1].stop()
    bench.pass_time(1)
    assert bench.released() == bench.places


def test_an_answer_that_never_comes_releases_what_was_in_flight() -> None:
    bench = with_one_in_flight()
    bench.give(None)
    bench.target.parked.clear()
    bench.pass_time(12)
    assert bench.released() == bench.places


# ── trouble ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("side", list(Side))
def test_a_broker_that_is_gone_is_told_and_asked_ever_more_slowly(side: Side) -> None:
    bench = Bench()
    cluster = bench.source if side is Side.SOURCE else bench.target
    cluster.brokers[1].up = False
    bench.pass_time(60)
    assert any(words.startswith(f"{side} cluster, broker simulated") for words in bench.troubles())
    assert bench.connects < 2 * 60 / LAST_BACK_OFF_SECONDS + 20
    cluster.brokers[1].up = True
    bench.write(bench.places[0])
    bench.pass_time(10)
    assert bench.copied(bench.places[0])


def test_a_target_without_enough_replicas_is_not_hammered() -> None:
    bench = Bench()
    bench.pass_time(1)
    bench.weather.error = 1.0
    bench.chance.choice = lambda options: 19  # type: ignore[method-assign,assignment]
    bench.write(bench.places[0])
    bench.pass_time(60)
    assert 10 < len(bench.sends) < 60
    bench.weather.error = 0.0
    bench.pass_time(10)
    assert bench.copied(bench.places[0])


@pytest.mark.parametrize("side", list(Side))
def test_a_leader_epoch_that_the_order_does_not_know_is_told(side: Side) -> None:
    bench = Bench()
    bench.pass_time(1)
    cluster = bench.source if side is Side.SOURCE else bench.target
    cluster.logs[bench.places[0]].restart(NOW_MS, batches_each=5)
    cluster.brokers[1].stop()
    cluster.brokers[1].up = True
    bench.pass_time(2)
    assert f"{side}: FENCED_LEADER_EPOCH" in bench.troubles()
    bench.give(bench.ordered(bench.places))
    bench.write(bench.places[0])
    bench.pass_time(2)
    assert bench.copied(bench.places[0])


def test_a_foreign_record_on_an_idle_partition_is_found_soon() -> None:
    bench = Bench(2)
    bench.write(bench.places[0])
    bench.pass_time(2)
    bench.target.logs[bench.places[0]].write(make_batch([Record(NOW_MS, None, b"foreign")], producer_id=8))
    bench.pass_time(3)
    stop = bench.seen[bench.places[0]].stop
    assert stop is not None
    assert (stop.kind, stop.offset) == (StopKind.FOREIGN_WRITE, 2)
    assert bench.state(bench.places[1]) is PartitionState.IN_SYNC, "the rest goes on"


def test_a_source_truncated_while_idle_stops_without_holding_up_the_rest() -> None:
    bench = Bench(2)
    bench.write(bench.places[0], 5)
    bench.pass_time(2)
    bench.source.logs[bench.places[0]].elect(4, high_watermark=4, now_ms=NOW_MS, drop_expired=False)
    bench.give(bench.ordered(bench.places))
    bench.pass_time(2)
    bench.write(bench.places[1], 5)
    bench.pass_time(1)
    stop = bench.seen[bench.places[0]].stop
    assert stop is not None
    assert stop.kind is StopKind.SOURCE_TRUNCATED
    assert bench.copied(bench.places[1])


def test_old_records_wait_for_the_quiet_period_of_a_lost_predecessor() -> None:
    bench = Bench()
    bench.write(bench.places[0], 3, age_ms=30 * DAY_MS)
    bench.give(bench.ordered(bench.places, fresh=False))
    bench.pass_time(4)
    assert bench.sends == []
    bench.pass_time(3)
    assert bench.copied(bench.places[0])


def test_a_damaged_answer_costs_a_link_and_nothing_else() -> None:
    bench = Bench()
    bench.write(bench.places[0], 3)
    bench.pass_time(1)
    link = bench.pipeline._links.known(Side.SOURCE, Purpose.DATA)
    assert link is not None
    link._inbox.append((bench.clock.now, b"\0\0\0\7\1\xff"))  # type: ignore[attr-defined]
    bench.write(bench.places[0], 3)
    bench.pass_time(3)
    assert any("Fetch answer" in words for words in bench.troubles())
    assert bench.copied(bench.places[0])


def test_a_topic_at_its_own_limit_is_fetched_no_faster_than_that() -> None:
    bench = Bench(timeout_ms=1_000)
    topic = bench.places[0].topic
    bench.throttle.set_rates(Rates(topics=((topic, Rate(1, 10_000)),)))
    bench.write(bench.places[0], 40, size=2_500)
    bench.pass_time(5)
    assert bench.state(bench.places[0]) is PartitionState.THROTTLED
    while not bench.copied(bench.places[0]):
        bench.pass_time(0.5)
    assert bench.copied(bench.places[0])
    assert bench.troubles() == []
    assert 18 < bench.clock.now - 1000.0 < 22, "the rate was kept"
    bench.throttle.set_rates(UNLIMITED)
    bench.write(bench.places[0], 20, size=500)
    bench.pass_time(1)
    assert bench.copied(bench.places[0])
    assert bench.state(bench.places[0]) is PartitionState.IN_SYNC


def test_while_the_targets_latency_has_a_limit_one_request_is_under_way() -> None:
    bench = Bench()
    bench.throttle.set_rates(Rates(latency_ms=1))
    bench.write(bench.places[0], 100, size=20_000)
    while not bench.copied(bench.places[0]):
        bench.pass_time(1)
    assert BRAKED in {each.reason for report in bench.reports for each in report.partitions}


def test_every_second_of_a_pipeline_is_told() -> None:
    bench = Bench()
    began = bench.clock.now
    bench.write(bench.places[0], 3)
    bench.pass_time(3)
    bench.write(bench.places[0], 3)
    bench.pass_time(3)
    spent = bench.reports[-1].spent
    assert 3 < spent.seconds <= bench.clock.now - began
    assert spent.nothing > 2 * (spent.seconds - spent.nothing), "there was little to do"


def test_a_topic_whose_limit_is_lifted_while_it_is_not_held_is_fetched_in_full_shares_again() -> None:
    bench = Bench()
    topic = bench.places[0].topic
    bench.throttle.set_rates(Rates(topics=((topic, Rate(1, 200_000)),)))
    bench.write(bench.places[0])
    bench.pass_time(3)
    assert bench.pipeline._fetching._slow
    bench.throttle.set_rates(UNLIMITED)
    bench.pass_time(3)
    assert not bench.pipeline._fetching._slow


def test_a_topic_that_is_held_for_long_is_not_called_in_sync() -> None:
    """Nothing of it is fetched: what the source has by now, nobody knows."""
    bench = Bench()
    bench.write(bench.places[0])
    bench.pass_time(3)
    bench.throttle.set_rates(Rates(topics=((bench.places[0].topic, Rate(1, 1_000)),)))
    bench.write(bench.places[0], size=25_000)
    bench.pass_time(3)
    bench.write(bench.places[0], 5)
    for _ in range(9):
        bench.pass_time(5)
        assert bench.state(bench.places[0]) is PartitionState.THROTTLED
    bench.pass_time(10)
    assert bench.copied(bench.places[0])
    assert bench.state(bench.places[0]) is PartitionState.IN_SYNC


def test_a_request_that_was_put_off_for_a_moment_goes_out_when_the_moment_is_over() -> None:
    """The clock goes on between the look at it and the wait."""
    bench = Bench()
    bench.pass_time(3)
    fetching = bench.pipeline._fetching
    fetching.asked_at = None
    fetching._calm_until = bench.clock.now + 0.001
    fetching.send(paused=False, is_writing=False)
    assert fetching.asked_at is None
    assert fetching.take_wait_seconds(bench.clock.now + 0.002) == 0.0
    assert fetching.take_wait_seconds(bench.clock.now + 0.002) == float("inf"), "it is told once"


def test_records_without_a_time_have_no_age() -> None:
    bench = Bench()
    bench.write(bench.places[0], age_ms=NOW_MS + 1)
    bench.pass_time(3)
    assert bench.copied(bench.places[0])
    assert [each for report in bench.reports for each in report.latencies] == []


def test_what_is_paused_or_stopped_waits_for_nobody() -> None:
    bench = Bench()
    bench.throttle.set_rates(Rates.together(20_000))
    bench.write(bench.places[0], 40, size=5_000)
    bench.pass_time(2)
    bench.paused = True
    bench.pass_time(2)
    before = bench.reports[-1].spent
    bench.pass_time(5)
    assert bench.pipeline._fetching.is_behind
    bench.paused = False
    bench.pass_time(0.5)
    assert bench.reports[-1].spent.since(before).source < 1
    bench.give(bench.ordered(bench.places, source_topic_id=None))
    bench.pass_time(2)
    assert bench.state(bench.places[0]) is PartitionState.STOPPED
    assert not bench.pipeline._fetching.is_behind
