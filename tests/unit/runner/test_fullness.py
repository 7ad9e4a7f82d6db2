"""A full target holds everything up, and what is full stays so until there is room to spare."""

from __future__ import annotations

from kmigrate.kafka_types import BrokerId
from kmigrate.preflight.room import Disks
from kmigrate.runner.fullness import DiskWatch
from tests.unit.topics.settings_cluster import SettingsCluster

B1, B2 = BrokerId(1), BrokerId(2)


def free(percent: float) -> Disks:
    return Disks(total_bytes=1_000_000_000, usable_bytes=int(percent * 10_000_000))


def test_it_is_full_below_the_limit_and_has_room_again_clearly_above_it() -> None:
    watch = DiskWatch(SettingsCluster({}).client, left_free=0.2)
    assert not watch.adopt({B1: free(80), B2: free(20)})
    assert watch.reason == ""
    assert watch.adopt({B1: free(80), B2: free(19.9)})
    assert watch.reason == (
        "TARGET_FULL: broker 2 of the target has 19.9% of its disks free (199 MB); below 20% nothing is written, and"
        " from 25% on it goes on by itself"
    )
    assert not watch.adopt({B1: free(80), B2: free(24.9)}), "still full, which is no change"
    assert "24.9%" in watch.reason
    assert watch.adopt({B1: free(80), B2: free(25)})
    assert watch.reason == ""


def test_what_no_broker_tells_changes_nothing() -> None:
    watch = DiskWatch(SettingsCluster({}).client, left_free=0.2)
    assert watch.adopt({B1: free(1)})
    assert not watch.adopt({})
    assert "TARGET_FULL" in watch.reason
