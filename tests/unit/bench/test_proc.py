"""/proc as the kernel spells it."""

import os

from bench import proc
from bench.machine import parse_cpu_model
from bench.proc import Stat, family, parse_kilobytes, parse_stat, seconds_of

STAT = (
    "4242 (a (b) c) S 17 4242 4242 0 -1 4194304 5203 9034 0 1 123 45 60 7 20 0 12 0 188442 310001664 15360 "
    "18446744073709551615 1 1 0 0 0 0 0 16781312 81922 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
)
ROLLUP = """\
5581d1b46000-7ffdb7bd6000 ---p 00000000 00:00 0                          [rollup]
Rss:               61440 kB
Pss:               48123 kB
Pss_Dirty:         40000 kB
"""


def _stat(pid: int, parent: int, ticks: int = 0, children_ticks: int = 0) -> Stat:
    return Stat(pid=pid, parent=parent, ticks=ticks, children_ticks=children_ticks)


def test_a_name_with_brackets_and_blanks_does_not_move_the_fields() -> None:
    assert parse_stat(STAT) == _stat(4242, 17, 168, 67)


def test_sizes_are_in_bytes() -> None:
    assert parse_kilobytes(ROLLUP, "Pss") == 48_123 * 1024
    assert parse_kilobytes(ROLLUP, "Rss") == 61_440 * 1024
    assert parse_kilobytes("", "Pss") is None


def test_a_family_is_a_process_and_its_descendants() -> None:
    stats = [_stat(30, 20), _stat(1, 0), _stat(20, 10), _stat(10, 1), _stat(21, 10), _stat(99, 1)]
    assert [stat.pid for stat in family(10, stats)] == [10, 20, 21, 30]
    assert family(11, stats) == []


def test_ended_children_count_through_who_waited_for_them() -> None:
    ticks_a_second = os.sysconf("SC_CLK_TCK")
    assert seconds_of([_stat(1, 0, ticks_a_second, ticks_a_second), _stat(2, 1, ticks_a_second)]) == 3.0


def test_this_process_is_found_with_its_time_and_its_memory() -> None:
    assert os.getpid() in [stat.pid for stat in family(os.getpid(), proc.read_all())]
    assert proc.rss_bytes([os.getpid()]) > 1 << 20
    assert proc.cpu_seconds(os.getpid()) >= 0.0


def test_a_process_that_is_gone_counts_nothing() -> None:
    gone = 1 << 22
    assert proc.cpu_seconds(gone) == 0.0
    assert proc.pss_bytes([gone]) == 0
    assert proc.rss_bytes([gone]) == 0


def test_the_cpu_model_is_the_first_that_is_named() -> None:
    assert parse_cpu_model("processor\t: 0\nmodel name\t: A  Processor @ 2 GHz\nmodel name\t: B\n") == (
        "A Processor @ 2 GHz"
    )
    assert parse_cpu_model("processor\t: 0\nBogoMIPS\t: 243.75\n") == ""
