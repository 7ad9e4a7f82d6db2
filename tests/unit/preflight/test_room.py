"""What comes must fit, a fifth of each disk left free; and what is full stays full until there is room to spare."""

from __future__ import annotations

from kmigrate.kafka_types import BrokerId
from kmigrate.preflight.registry import FindingId, Level
from kmigrate.preflight.room import Demand, Disks, decide_full, judge_room, show_bytes

B1, B2 = BrokerId(1), BrokerId(2)
GB = 10**9


def demand(history: float, ingress: float = 0.0, filler: int = 0, markers: int = 0) -> Demand:
    return Demand(history_bytes=history, ingress_bytes_per_second=ingress, filler=filler, markers=markers)


def disks(total: int, usable: int) -> Disks:
    return Disks(total_bytes=total, usable_bytes=usable)


def test_a_fifth_of_every_disk_is_left_free() -> None:
    fit = {B1: disks(100 * GB, 70 * GB), B2: disks(100 * GB, 70 * GB)}
    (finding,) = judge_room(fit, None, [B1, B2], demand(100 * GB), copy_seconds=60, left_free=0.2)
    assert (finding.id, finding.level) == (FindingId.DISK_ROOM, Level.PASS)
    (finding,) = judge_room(
        fit | {B2: disks(100 * GB, 69 * GB)}, None, [B1, B2], demand(100 * GB), copy_seconds=60, left_free=0.2
    )
    assert (finding.id, finding.level) == (FindingId.DISK_TOO_SMALL, Level.BLOCK)
    assert "broker 2 of the target has 49 GB to spare; about 50 GB are needed there" in finding.what


def test_what_arrives_counts_for_a_day_at_least() -> None:
    assert demand(0, ingress=1000).bytes_within(86_400) == 86_400_000
    small = {B1: disks(1000, 1000)}
    (finding,) = judge_room(small, None, [B1], demand(0, ingress=1.0), copy_seconds=1, left_free=0.2)
    assert finding.level is Level.BLOCK
    assert "86.4 kB that arrive in 1.0 days" in finding.what
    (finding,) = judge_room(small, None, [B1], demand(0, ingress=1.0), copy_seconds=864_000, left_free=0.2)
    assert "864 kB that arrive in 10.0 days" in finding.what


def test_filler_and_markers_take_room() -> None:
    assert demand(0, filler=1_000_000, markers=100).bytes_within(0) == 1_500_000 + 7_800


def test_what_no_broker_tells_is_declared_or_unknown() -> None:
    (finding,) = judge_room({}, None, [B1], demand(GB), copy_seconds=60, left_free=0.2)
    assert finding.level is Level.UNKNOWN
    assert "spec.sizes.targetFreeBytes" in finding.hint
    (finding,) = judge_room({}, 2 * GB, [B1], demand(GB), copy_seconds=60, left_free=0.2)
    assert finding.level is Level.PASS
    (finding,) = judge_room({}, GB // 2, [B1], demand(GB), copy_seconds=60, left_free=0.2)
    assert finding.level is Level.BLOCK


def test_a_full_broker_is_full_until_there_is_room_to_spare() -> None:
    assert decide_full(False, {B1: 0.2, B2: 0.5}, left_free=0.2) is None
    assert decide_full(False, {B1: 0.19, B2: 0.5}, left_free=0.2) == B1
    assert decide_full(True, {B1: 0.2, B2: 0.5}, left_free=0.2) == B1
    assert decide_full(True, {B1: 0.25, B2: 0.5}, left_free=0.2) is None
    assert decide_full(False, {B1: 0.19, B2: 0.1}, left_free=0.2) == B2
    assert decide_full(True, {}, left_free=0.2) is None


def test_bytes_are_shown_with_three_digits() -> None:
    assert [show_bytes(n) for n in (12, 1234, 12_345_678, 5 * 10**12)] == ["12 B", "1.23 kB", "12.3 MB", "5 TB"]
