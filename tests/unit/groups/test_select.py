"""Which groups take part."""

from __future__ import annotations

from kmigrate.groups import select
from kmigrate.groups.select import select_groups
from kmigrate.manifest import ClusterSettings, Manifest
from kmigrate.manifest.model import Selection
from kmigrate.wire.offset_calls import ListedGroup

SIDE = ClusterSettings(bootstrap=(("host", 9092),))


def manifest(include: tuple[str, ...] = (".*",), exclude: tuple[str, ...] = ()) -> Manifest:
    return Manifest(name="m", source=SIDE, target=SIDE, groups=Selection(include=include, exclude=exclude))


def listed(group: str, protocol: str = "consumer", kind: str = "classic") -> ListedGroup:
    return ListedGroup(group, protocol, "Stable", kind)


def test_expressions_match_the_whole_name() -> None:
    groups = [listed("pay"), listed("payments"), listed("orders")]
    found = select_groups(groups, manifest(include=("pay", "orders.*"), exclude=("orders",)))
    assert list(found.groups) == ["pay"]
    assert found.left_out == {"orders": select.EXCLUDED, "payments": select.NOT_INCLUDED}


def test_leases_take_no_part() -> None:
    found = select_groups([listed("kmigrate-orders", "kmigrate")], manifest())
    assert found.left_out == {"kmigrate-orders": select.LEASE}


def test_both_protocols_and_groups_without_members_ever_take_part() -> None:
    groups = [listed("a"), listed("b", kind="consumer"), listed("c", protocol=""), listed("d", kind="")]
    assert list(select_groups(groups, manifest()).groups) == ["a", "b", "c", "d"]


def test_what_cannot_be_moved_is_named_with_its_kind() -> None:
    groups = [listed("s", "share", "share"), listed("t", "streams", "streams"), listed("c", "connect")]
    found = select_groups(groups, manifest())
    assert not found.groups
    assert found.unsupported == {
        "s": "a share group: its progress cannot be moved",
        "t": "a streams group: its progress cannot be moved",
        "c": "not a consumer group: its members speak 'connect'",
    }


def test_an_unsupported_group_that_nobody_wants_is_only_left_out() -> None:
    found = select_groups([listed("s", "share", "share")], manifest(include=("other",)))
    assert not found.unsupported
