"""At the start it is looked up what the target's topics are to become, where that is not recorded for good."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest

from kmigrate.kafka_types import NO_TOPIC_ID, BrokerId, Partition, TopicName, TopicPartition
from kmigrate.preflight import FindingId, Seen
from kmigrate.preflight.findings import found
from kmigrate.runner.start import _read_intended, _untouched
from kmigrate.state.store import Store
from kmigrate.topics.hold import TimestampLimits, hold_settings
from kmigrate.topics.intended import Intended, Origin
from kmigrate.topics.select import Selected
from kmigrate.wire.calls import ClusterMetadata, TopicMetadata
from tests.unit.topics.settings_cluster import SettingsCluster

HOLD = hold_settings(TimestampLimits.SPLIT, source_max_bytes=None, broker_max_bytes=None)
COMPACT = {"cleanup.policy": "compact"}
FROM_SOURCE = Intended(origin=Origin.SOURCE, settings=COMPACT)
EARLIER = Intended(origin=Origin.SOURCE, settings={"retention.ms": "7"})
LOST = Intended(origin=Origin.LOST, settings=None)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path)
    yield store
    store.close()


def cluster(names: Collection[str]) -> ClusterMetadata:
    topic = TopicMetadata(error=0, topic_id=NO_TOPIC_ID, is_internal=False, partitions={})
    return ClusterMetadata(
        cluster_id="c", controller=BrokerId(1), brokers={}, topics={TopicName(name): topic for name in names}
    )


def look(
    store: Store, target: Mapping[str, Mapping[str, str]], *, adopted: Collection[str] = (), forgotten: str = ""
) -> dict[TopicName, Intended]:
    """What the store lacks, for topics of the target; each is compacted on the source, but for those that are gone."""
    on_source = {name: COMPACT for name in ("new", *target) if not name.startswith("gone")}
    seen = Seen(
        source=cluster(on_source),
        target=cluster(target),
        selected=Selected(topics=tuple(map(TopicName, on_source)), left_out={}, missing=()),
        adopted=[TopicPartition(TopicName(name), Partition(0)) for name in adopted],
    )
    findings = (
        [found(FindingId.TARGET_CONTENT_OURS, count="1 partition", forgotten=(TopicName(forgotten),))]
        if forgotten
        else []
    )
    clients = SettingsCluster(on_source).client, SettingsCluster(target).client
    return _read_intended(store, seen, *clients, _untouched(seen, findings))


def test_a_topic_that_the_target_does_not_have_is_looked_at_when_it_is_created(store: Store) -> None:
    assert look(store, {}) == {}


def test_an_empty_topic_made_by_hand_keeps_what_it_has(store: Store) -> None:
    assert look(store, {"hand": {"retention.ms": "5"}}) == {
        "hand": Intended(origin=Origin.TARGET, settings={"retention.ms": "5"})
    }


def test_what_is_recorded_is_not_looked_up_again(store: Store) -> None:
    store.record_intended({TopicName("ours"): EARLIER})
    assert look(store, {"ours": HOLD}, adopted=["ours"]) == {}


def test_topics_whose_hold_has_ended_stay_out_of_it(store: Store) -> None:
    store.end_effect(store.plan_effect("restore-hold", TopicName("ours"), {}), ends_hold=True)
    assert look(store, {"ours": COMPACT}, adopted=["ours"]) == {}


def test_after_the_store_is_lost_the_hold_itself_tells_whose_settings_count(store: Store) -> None:
    target = {"ours": HOLD, "hand": {"retention.ms": "5"}, "gone": HOLD}
    assert look(store, target, adopted=list(target)) == {
        "ours": FROM_SOURCE,
        "hand": LOST,
        "gone": Intended(origin=Origin.SOURCE, settings=None),
    }


def test_a_topic_with_our_records_that_nothing_remembers_is_not_taken_for_an_empty_one(store: Store) -> None:
    assert look(store, {"hand": {"retention.ms": "5"}}, forgotten="hand") == {"hand": LOST}
