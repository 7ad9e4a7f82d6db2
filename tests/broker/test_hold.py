"""Real brokers take a topic out of its hold: it is then what it was meant to be, and its records are where they were.

librdkafka says what settings a topic has of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ConfigSource

from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.demo.embedded import EmbeddedCluster
from kmigrate.kafka_types import Side, TopicName
from kmigrate.runner.effects import Effects
from kmigrate.runner.provision import Inspection, NewTopicSize, Provision, Provisioner
from kmigrate.runner.start import describe_brokers
from kmigrate.state.store import Store
from kmigrate.topics.alter import Altered
from kmigrate.topics.create import Created, Failed, TargetTraits
from kmigrate.topics.hold import LONG_MAX, timestamp_limits
from kmigrate.topics.intended import Intended, Origin
from tests.conftest import SOURCE_VERSION
from tests.fault.harness import Migration, closing_all, wait_until
from tests.fault.stops.topics import set_config
from tests.kafka_tools import SentRecord, create_topic, dump_log, new_topic_name, produce, read_all, watermarks

pytestmark = pytest.mark.broker

COMPACTED = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.001",
    "segment.ms": "5000",
    "delete.retention.ms": "1000",
    "message.timestamp.before.max.ms": "999999999999",
    "max.message.bytes": "3000000",
}
MADE_OWN = {"message.timestamp.after.max.ms": str(LONG_MAX)}
"""What the source's topics inherit and the target's would not: there it is an hour."""
KEYS, ROUNDS = 10, 30


@pytest.fixture(params=["to the newer", "to the older"])
def pair(
    request: pytest.FixtureRequest, source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> tuple[EmbeddedCluster, EmbeddedCluster]:
    """A source and a target, in both directions."""
    newer = request.param == "to the newer"
    return (source_cluster, target_cluster) if newer else (target_cluster, source_cluster)


class Sides:
    """Both clusters as kmigrate sees them, and one migration's store."""

    def __init__(self, source: EmbeddedCluster, target: EmbeddedCluster, folder: Path) -> None:
        self.source = _client(Side.SOURCE, source)
        self.target = _client(Side.TARGET, target)
        self.store = Store.open(folder)
        self.effects = Effects(self.store, self.source, self.target, lambda: True)

    def create(self, topic: str) -> None:
        """Creates a target topic under hold, as a run does."""
        told = describe_brokers(self.target, self.target.metadata([]))
        traits = TargetTraits(limits=timestamp_limits(told), max_bytes=None)
        provisioner = Provisioner(
            self.source, self.target, traits, self.store, lambda _names: Inspection({}, {}), lambda: True
        )
        wanted = Provision(create={TopicName(topic): NewTopicSize(1, 1)})
        assert [type(each) for each in provisioner._perform(wanted).values()] == [Created]

    def restore(self, topic: str) -> Altered:
        return _wait_altered("it is restored", lambda: self.effects.restore_hold(TopicName(topic)))

    def close(self) -> None:
        self.source.close()
        self.target.close()
        self.store.close()


def _client(side: Side, cluster: EmbeddedCluster) -> ClusterClient:
    host, _, port = cluster.bootstrap.partition(":")
    return ClusterClient(side, [(host, int(port))], ConnectionSettings(client_id="hold"))


def _wait_altered(what: str, act: Callable[[], object]) -> Altered:
    def altered() -> Altered | None:
        outcome = act()
        assert not isinstance(outcome, Failed), outcome
        return outcome if isinstance(outcome, Altered) else None

    found = wait_until(what, altered)
    assert found is not None
    return found


@pytest.fixture
def sides(pair: tuple[EmbeddedCluster, EmbeddedCluster], tmp_path: Path) -> Iterator[Sides]:
    sides = Sides(*pair, tmp_path)
    yield sides
    sides.close()


def own_settings(cluster: EmbeddedCluster, topic: str) -> dict[str, str]:
    """What the topic has of its own, as librdkafka is told."""
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    entries: dict[str, Any] = admin.describe_configs([resource])[resource].result(30)
    own = ConfigSource.DYNAMIC_TOPIC_CONFIG.value
    return {key: entry.value for key, entry in entries.items() if entry.source == own}


def test_a_compacted_topic_is_restored_and_then_cleaned_to_its_latest_values(
    pair: tuple[EmbeddedCluster, EmbeddedCluster], sides: Sides
) -> None:
    source, target = pair
    topic = create_topic(source.bootstrap, config=COMPACTED)
    sides.create(topic)
    held = own_settings(target, topic)
    assert (held["cleanup.policy"], held["retention.ms"], held["max.message.bytes"]) == ("delete", "-1", "3000000")
    assert sides.store.held() == (topic,)

    day_ago = time.time_ns() // 1_000_000 - 86_400_000
    written = [
        SentRecord(key=b"key %d" % key, value=b"%d in round %d" % (key, each), timestamp=day_ago + each)
        for each in range(ROUNDS)
        for key in range(KEYS)
    ]
    produce(target.bootstrap, topic, written)
    before = read_all(target.bootstrap, topic)
    assert len(before) == KEYS * ROUNDS

    assert sides.restore(topic).alterations
    restored = own_settings(target, topic)
    assert restored == own_settings(source, topic) == COMPACTED
    assert sides.store.held() == ()
    assert sides.restore(topic).alterations == ()
    assert own_settings(target, topic) == restored
    assert len(sides.store.effects()) == 1

    # later than segment.ms, so that the segment with everything else ends and may be cleaned
    produce(target.bootstrap, topic, [SentRecord(key=b"last", value=b"one", timestamp=day_ago + 60_000)])
    cleaned = wait_until(
        "the cleaner has run",
        lambda: len(found := read_all(target.bootstrap, topic)) <= KEYS + 1 and found,
        evidence=lambda: f"{len(read_all(target.bootstrap, topic))} records",
    )
    assert cleaned[:-1] == before[-KEYS:], "the latest values, at their offsets"
    assert (cleaned[-1].offset, cleaned[-1].key) == (KEYS * ROUNDS, b"last")
    assert watermarks(target.bootstrap, topic) == (0, KEYS * ROUNDS + 1)


def test_a_limit_is_raised_for_a_large_batch_and_taken_back(
    pair: tuple[EmbeddedCluster, EmbeddedCluster], sides: Sides
) -> None:
    source, target = pair
    topic = create_topic(source.bootstrap, config={"max.message.bytes": "5000000"})
    large = SentRecord(value=b"v" * 4_000_000)
    produce(source.bootstrap, topic, [large], config={"message.max.bytes": 6_000_000})
    set_config(source, topic, "max.message.bytes", "2000")
    sides.create(topic)
    with pytest.raises(AssertionError, match="MSG_SIZE_TOO_LARGE"):
        produce(target.bootstrap, topic, [large], config={"message.max.bytes": 6_000_000})
    for _ in range(2):
        _wait_altered("the limit is raised", lambda: sides.effects.raise_limit(TopicName(topic), 4_500_000))
        assert own_settings(target, topic)["max.message.bytes"] == "4500000"
    produce(target.bootstrap, topic, [large], config={"message.max.bytes": 6_000_000})
    before = read_all(target.bootstrap, topic)
    sides.restore(topic)
    assert own_settings(target, topic) == {"max.message.bytes": "2000"}
    assert read_all(target.bootstrap, topic) == before


def test_batches_from_before_the_source_lowered_its_limit_are_copied_as_they_are(
    source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, tmp_path: Path
) -> None:
    topic = create_topic(source_cluster.bootstrap, partitions=2, config={"max.message.bytes": "5000000"})
    together = {"message.max.bytes": 6_000_000, "batch.size": 4_000_000, "linger.ms": 500}
    for size in (300_000, 200_000):
        records = [SentRecord(value=bytes([each]) * size, partition=part) for part in (0, 1) for each in range(10)]
        produce(source_cluster.bootstrap, topic, records, config=together)
    produce(source_cluster.bootstrap, topic, [SentRecord(value=b"v" * 4_500_000)], config=together)
    set_config(source_cluster, topic, "max.message.bytes", "2000")
    copy = Migration(tmp_path, source_cluster, target_cluster, [topic], name=topic)
    with closing_all([copy]):
        copy.start("--until", "in-sync")
        assert copy.wait_for_exit() == 0, copy.evidence()
        assert copy.status()["totals"]["recordsReencoded"] == 0
    there, here = (batches(cluster, topic) for cluster in (source_cluster, target_cluster))
    assert here == there
    largest = max(size for _, _, size in there)
    assert largest > 4_500_000
    assert own_settings(target_cluster, topic)["max.message.bytes"] == str(largest)

    before = read_all(target_cluster.bootstrap, topic)
    assert before == read_all(source_cluster.bootstrap, topic)
    sides = Sides(source_cluster, target_cluster, tmp_path / "state" / topic)
    try:
        raised = [each.payload["bytes"] for each in sides.store.effects() if each.is_done]
        assert raised == sorted(set(raised)), "each size once"
        assert raised[-1] == largest
        sides.restore(topic)
        assert own_settings(target_cluster, topic) == {"max.message.bytes": "2000"} | MADE_OWN
    finally:
        sides.close()
    assert read_all(target_cluster.bootstrap, topic) == before


def batches(cluster: EmbeddedCluster, topic: str) -> list[tuple[int, int, int]]:
    """First offset, records and size of every batch of the first partition, as Kafka's tool finds them in its log."""
    dumped = dump_log(SOURCE_VERSION, cluster.data_dir(1), topic)
    return [(int(each["baseOffset"]), int(each["count"]), int(each["size"])) for each in dumped]


def test_a_setting_that_the_target_does_not_take_holds_the_restoration_up_until_it_is_set_by_hand(
    source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, tmp_path: Path
) -> None:
    intended = {"retention.ms": "86400000", "segment.bytes": "100000"}
    topic = create_topic(source_cluster.bootstrap, config=intended)
    sides = Sides(source_cluster, target_cluster, tmp_path)
    try:
        sides.create(topic)
        held = own_settings(target_cluster, topic)
        refused = sides.effects.restore_hold(TopicName(topic))
        assert isinstance(refused, Failed)
        assert "segment.bytes" in refused.reason
        assert own_settings(target_cluster, topic) == held
        assert sides.store.held() == (topic,)
        set_config(target_cluster, topic, "segment.bytes", "2000000")
        sides.restore(topic)
        assert own_settings(target_cluster, topic) == intended | {"segment.bytes": "2000000"}
    finally:
        sides.close()


def test_a_run_records_what_its_topics_are_to_become_and_knows_it_again_when_it_lost_its_state(
    source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster, tmp_path: Path
) -> None:
    ours, by_hand = new_topic_name("a-ours"), new_topic_name("b-hand")
    for topic in (ours, by_hand):
        create_topic(source_cluster.bootstrap, topic, config=COMPACTED)
        produce(source_cluster.bootstrap, topic, [SentRecord(key=b"k", value=b"v")])
    hands = {"retention.ms": "-1", "max.message.bytes": "4000000"}
    create_topic(target_cluster.bootstrap, by_hand, config=hands)
    copy = Migration(tmp_path, source_cluster, target_cluster, [ours, by_hand], name=ours)
    from_source = Intended(origin=Origin.SOURCE, settings=COMPACTED | MADE_OWN)

    def run() -> dict[TopicName, Intended]:
        copy.start("--until", "in-sync")
        assert copy.wait_for_exit() == 0, copy.evidence()
        assert copy.status()["held"] == [ours, by_hand]
        store = Store.open(tmp_path / "state" / ours)
        try:
            return store.intended()
        finally:
            store.close()

    with closing_all([copy]):
        assert run() == {ours: from_source, by_hand: Intended(origin=Origin.TARGET, settings=hands)}
        assert run() == {ours: from_source, by_hand: Intended(origin=Origin.TARGET, settings=hands)}
        copy.lose_state()
        assert run() == {ours: from_source, by_hand: Intended(origin=Origin.LOST, settings=None)}

    sides = Sides(source_cluster, target_cluster, tmp_path / "state" / ours)
    try:
        refused = sides.effects.restore_hold(TopicName(by_hand))
        assert isinstance(refused, Failed)
        assert "made by hand" in refused.reason
        assert own_settings(target_cluster, by_hand) == hands
        sides.restore(ours)
        assert own_settings(target_cluster, ours) == COMPACTED | MADE_OWN
        assert copy.status()["held"] == [by_hand]
    finally:
        sides.close()
