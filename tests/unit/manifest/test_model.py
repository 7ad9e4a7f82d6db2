"""The manifest selects topics by whole names and knows which it names outright."""

from __future__ import annotations

import pytest

from kmigrate.manifest import ClusterSettings, HostPort, Manifest, Offsets, OffsetsClass, Selection
from kmigrate.manifest.model import is_start

CLUSTER = ClusterSettings(bootstrap=(HostPort("a", 9092),))


def manifest(*include: str, exclude: tuple[str, ...] = ()) -> Manifest:
    topics = Selection(include=include or (".*",), exclude=exclude)
    return Manifest(name="m", source=CLUSTER, target=CLUSTER, topics=topics)


@pytest.mark.parametrize(
    ("include", "topic", "selected"),
    [
        ("orders", "orders", True),
        ("orders", "orders-2", False),
        ("orders", "my-orders", False),
        ("a|b", "bc", False),
        (r"pay\..*", "pay.eu", True),
        (r"pay\..*", "payments", False),
        ("pay.orders", "pay-orders", True),
        (".*", "__consumer_offsets", False),
        ("__mine", "__mine", False),
        (".*", "_schemas", True),
        ("orders", "orders\n", False),
    ],
)
def test_a_topic_is_selected_by_its_whole_name(include: str, topic: str, selected: bool) -> None:
    assert manifest(include).topic_selected(topic) is selected


def test_exclusion_wins() -> None:
    some = manifest("orders.*", exclude=("orders-tmp",))
    assert some.topic_selected("orders-new")
    assert not some.topic_selected("orders-tmp")


def test_literal_topics_are_names_without_metacharacters() -> None:
    some = manifest("orders", r"pay\.eu", "pay.us", ".*", "a|b", "x+", r"\d", r"a\-b", "orders", "[ab]", "c$")
    assert some.literal_topics() == ("orders", "pay.eu", "pay.us", "a-b")


def test_literal_topics_are_selected_ones() -> None:
    assert manifest("a", "b", "__c", exclude=("b",)).literal_topics() == ("a",)
    assert manifest().literal_topics() == ()


def test_the_first_matching_class_counts() -> None:
    offsets = Offsets(
        offsets_class=OffsetsClass.IDENTICAL,
        topics={"a.*": OffsetsClass.MAPPED, "ab": OffsetsClass.AUTO},
    )
    assert [offsets.class_of(t) for t in ("ab", "xab")] == [OffsetsClass.MAPPED, OffsetsClass.IDENTICAL]


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("earliest", True),
        ("latest", True),
        ("2024-05-01T00:00:00Z", True),
        ("2024-05-01 10:00:00+02:00", True),
        ("2024-05-01T00:00:00", False),  # whose midnight?
        ("2024-05-01", False),
        ("yesterday", False),
    ],
)
def test_a_start_is_a_word_or_a_time_with_its_zone(text: str, valid: bool) -> None:
    assert is_start(text) is valid


def test_manifests_are_compared_by_what_they_want() -> None:
    assert manifest("a") == manifest("a")
    assert manifest("a") != manifest("b")
    used = manifest("a")
    used.topic_selected("a")
    assert used == manifest("a")
