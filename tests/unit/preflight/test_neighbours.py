"""Quotas, groups, names that collide, tombstones: what lives beside the topics is judged by what is told of it."""

from __future__ import annotations

import pytest

from kmigrate.kafka_types import BrokerAddress, BrokerId, Side, TopicName
from kmigrate.preflight.clock import Stamp, judge_clock
from kmigrate.preflight.limits import judge_batches, judge_min_insync, judge_sizes
from kmigrate.preflight.neighbours import (
    Quota,
    judge_collisions,
    judge_groups,
    judge_quotas,
    judge_tombstones,
    quota_rate,
    quotas_for,
)
from kmigrate.preflight.registry import FindingId, Level
from kmigrate.preflight.versions import judge_versions, oldest, release_of, show_release
from kmigrate.wire.call import VersionRanges
from kmigrate.wire.offset_calls import ListedGroup


def topics(*names: str) -> list[TopicName]:
    return [TopicName(name) for name in names]


def test_new_topics_must_not_collide_with_each_other_or_with_those_that_are_there() -> None:
    findings = judge_collisions(topics("a.b", "c", "d.e", "d_e"), topics("a_b", "c"))
    assert [(each.id, each.what.split()[1]) for each in findings] == [
        (FindingId.NAME_COLLISION, "a.b"),
        (FindingId.NAME_COLLISION, "d_e"),
    ]
    assert judge_collisions(topics("a.b"), topics("a.b", "a_b")) == [], "what is there already is not created"


RATE = {"producer_byte_rate": 1e6}


@pytest.mark.parametrize(
    ("entity", "counts"),
    [
        ({"user": "me"}, True),
        ({"user": None}, True),
        ({"user": "other"}, False),
        ({"client-id": "kmigrate-m"}, True),
        ({"client-id": None}, True),
        ({"client-id": "other"}, False),
        ({"user": "me", "client-id": "other"}, False),
        ({"user": "me", "client-id": None}, True),
        ({"ip": "10.0.0.1"}, False),
    ],
)
def test_a_quota_counts_if_it_is_for_us_or_for_all(entity: dict[str, str | None], counts: bool) -> None:
    quota = Quota(entity, RATE)
    assert bool(quotas_for([quota], user="me", client_id="kmigrate-m")) is counts


def test_any_user_may_be_ours_where_it_is_not_known_who_we_are() -> None:
    assert quotas_for([Quota({"user": "other"}, RATE)], user=None, client_id="c")


def test_quotas_of_the_other_direction_do_not_hold_us_back() -> None:
    reading = [Quota({"user": None}, {"consumer_byte_rate": 5e5})]
    (finding,) = judge_quotas(Side.SOURCE, reading)
    assert (finding.id, finding.what) == (
        FindingId.QUOTA,
        "the source limits user <default>: consumer_byte_rate=500000",
    )
    (finding,) = judge_quotas(Side.TARGET, reading)
    assert finding.id is FindingId.QUOTAS
    assert quota_rate(Side.SOURCE, reading, 3) == 1.5e6
    assert quota_rate(Side.TARGET, reading, 3) is None


def group(name: str, state: str = "Empty", kind: str = "Classic") -> ListedGroup:
    return ListedGroup(name, "consumer", state, kind)


def test_groups_that_are_active_on_both_sides_are_named() -> None:
    source = [group("a", "Stable"), group("b", "Stable"), group("c"), group("left-out", "Stable")]
    target = [group("a", "Stable"), group("b"), group("c", "Stable"), group("left-out", "Stable")]
    (finding,) = judge_groups(source, target, lambda name: name != "left-out")
    assert (finding.id, finding.what) == (
        FindingId.GROUP_ACTIVE_ON_BOTH,
        "1 group (a) have members on the source and on the target",
    )


def test_groups_of_kinds_that_cannot_be_moved_are_named() -> None:
    source = [group("a"), group("shared", kind="Share"), group("app", kind="Streams"), group("kmigrate-m")]
    findings = judge_groups(source, [], lambda name: True)
    assert [each.what for each in findings] == [
        "share groups are not moved: shared",
        "streams groups are not moved: app",
    ]
    (finding,) = judge_groups(source[:1] + source[3:], [], lambda name: True)
    assert (finding.level, finding.what) == (
        Level.PASS,
        "1 group on the source, none of them active on both sides",
    )


def test_compacted_topics_of_an_old_source_and_short_lived_tombstones_are_warned_about() -> None:
    kept = {TopicName("day"): 86_400_000, TopicName("short"): 5_000}
    assert [each.id for each in judge_tombstones(kept, (3, 0))] == [
        FindingId.TOMBSTONES_OLD_SOURCE,
        FindingId.TOMBSTONES_SHORT_LIVED,
    ]
    (finding,) = judge_tombstones(kept, (3, 1))
    assert "delete.retention.ms=5000 of short" in finding.what
    assert judge_tombstones({}, (2, 8)) == []


def test_clocks_are_bounded_by_all_stamps_or_not_known() -> None:
    assert judge_clock(Side.SOURCE, (), "no topic").level is Level.UNKNOWN
    near = judge_clock(Side.SOURCE, [Stamp(1_000_000, 1_001_000, 1_000_500)], "")
    assert (near.level, "between -0.5 and 0.5 s" in near.what) == (Level.PASS, True)
    ahead = judge_clock(Side.SOURCE, [Stamp(1_000_000, 1_001_000, 1_061_000)], "")
    assert (ahead.level, "at least 60 s ahead of" in ahead.what) == (Level.WARN, True)
    behind = judge_clock(Side.TARGET, [Stamp(1_000_000, 1_001_000, 940_000)], "")
    assert (behind.level, "at least 60 s behind" in behind.what) == (Level.WARN, True)
    controller = judge_clock(Side.TARGET, [Stamp(1_000, 1_004, 1_003)], "", whose="its controller's clock")
    assert controller.what == "target cluster: its controller's clock is between -0.0 and 0.0 s ahead of this machine's"
    both = judge_clock(Side.SOURCE, [Stamp(0, 9_000, 9_000), Stamp(0, 9_000, 3_000)], "")
    assert "between 0.0 and 3.0 s" in both.what


def test_limits_of_brokers_name_the_topics_that_do_not_fit() -> None:
    sizes = {TopicName("large"): 200, TopicName("small"): 10}
    (finding,) = judge_batches(sizes, 100)
    assert (finding.level, "max.message.bytes=200 of large" in finding.what) == (Level.BLOCK, True)
    assert judge_batches(sizes, None) == []
    factors = {TopicName("one"): 1, TopicName("two"): 2, TopicName("three"): 3}
    assert [each.what.rsplit(": ", 1)[1] for each in judge_min_insync(2, factors)] == ["one", "two"]
    assert judge_min_insync(1, factors) == []
    assert [each.id for each in judge_sizes(3, 2)] == [FindingId.TARGET_SMALLER]
    assert judge_sizes(2, 2) == []


@pytest.mark.parametrize(
    ("offered", "release"),
    [
        ({}, (0, 0)),
        ({61: (0, 0)}, (2, 8)),
        ({61: (0, 0), 66: (0, 0)}, (3, 0)),
        ({61: (0, 0), 66: (0, 0), 1: (0, 13)}, (3, 1)),
        ({61: (0, 0), 66: (0, 1), 1: (0, 17), 16: (0, 5)}, (3, 9)),
        ({61: (0, 0), 66: (0, 1), 1: (4, 17), 16: (0, 5)}, (4, 0)),
        ({61: (0, 0), 66: (0, 1), 1: (4, 18), 0: (3, 13)}, (4, 1)),
    ],
)
def test_a_release_is_told_by_what_it_was_the_first_to_offer(offered: VersionRanges, release: tuple[int, int]) -> None:
    assert release_of(offered) == release


def test_of_different_brokers_the_oldest_counts() -> None:
    one, two = (BrokerAddress(BrokerId(n), "b", 9092) for n in (1, 2))
    (finding,) = judge_versions(Side.SOURCE, {one: (3, 9), two: (3, 1)})
    assert finding.what == "the source cluster offers what Kafka 3.1 offers; other brokers that of 3.9"
    assert oldest([(3, 9), (3, 1)]) == (3, 1)
    assert oldest([]) == (0, 0)
    assert show_release((4, 1)) == "4.1 or newer"
    assert judge_versions(Side.SOURCE, {}) == []
