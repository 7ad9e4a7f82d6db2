"""Every topic moves, or is left out for a reason."""

from __future__ import annotations

from kmigrate.kafka_types import NO_TOPIC_ID, TopicName
from kmigrate.manifest import ClusterSettings, HostPort, Manifest, Selection
from kmigrate.topics.select import EXCLUDED, INTERNAL, NOT_INCLUDED, select_topics
from kmigrate.wire.calls import TopicMetadata

CLUSTER = ClusterSettings(bootstrap=(HostPort("localhost", 9092),))


def manifest(*include: str, exclude: tuple[str, ...] = ()) -> Manifest:
    return Manifest(
        name="m", source=CLUSTER, target=CLUSTER, topics=Selection(include=include or (".*",), exclude=exclude)
    )


def topics(*names: str, internal: tuple[str, ...] = ()) -> dict[TopicName, TopicMetadata]:
    return {
        TopicName(name): TopicMetadata(error=0, topic_id=NO_TOPIC_ID, is_internal=name in internal, partitions={})
        for name in (*names, *internal)
    }


def test_internal_topics_never_move_whatever_the_manifest_says() -> None:
    found = topics("orders", "__consumer_offsets", internal=("changelog",))
    selected = select_topics(found, manifest(".*", "__consumer_offsets"))
    assert selected.topics == ("orders",)
    assert selected.left_out == {"__consumer_offsets": INTERNAL, "changelog": INTERNAL}
    assert selected.missing == ()


def test_each_topic_left_out_has_its_reason() -> None:
    selected = select_topics(topics("pay.in", "pay.test", "orders"), manifest(r"pay\..*", exclude=(r".*\.test",)))
    assert selected.topics == ("pay.in",)
    assert selected.left_out == {"pay.test": EXCLUDED, "orders": NOT_INCLUDED}


def test_a_literal_name_that_the_source_does_not_have_is_missing() -> None:
    selected = select_topics(topics("orders"), manifest("orders", "payments", "x.*"))
    assert selected.missing == ("payments",)
