"""What /proc says about processes: their CPU time and their memory, with all their children.

CPU is utime + stime, which the kernel counts in ticks of 10 ms, and for ended children cutime + cstime of whoever
waited for them. PSS shares out what several processes map together, so that owner and workers may be added up.
Sources: proc(5), Documentation/filesystems/proc.rst.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_GONE = (FileNotFoundError, ProcessLookupError)


class Stat(NamedTuple):
    """A line of /proc/PID/stat: times in ticks, `children_ticks` of ended children that were waited for."""

    pid: int
    parent: int
    ticks: int
    children_ticks: int


def parse_stat(text: str) -> Stat:
    """The command's name stands in brackets and may hold blanks and brackets itself."""
    pid, rest = text.split(" (", 1)
    fields = rest.rsplit(") ", 1)[1].split()
    return Stat(
        pid=int(pid),
        parent=int(fields[1]),
        ticks=int(fields[11]) + int(fields[12]),
        children_ticks=int(fields[13]) + int(fields[14]),
    )


def parse_kilobytes(text: str, key: str) -> int | None:
    """The bytes of a line like `Pss:  1234 kB`; None if there is none, as for a process that is ending."""
    for line in text.splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return None


def family(root: int, stats: Iterable[Stat]) -> list[Stat]:
    """A process and all that descend from it, as far as they live."""
    children: dict[int, list[Stat]] = {}
    by_pid = {}
    for stat in stats:
        children.setdefault(stat.parent, []).append(stat)
        by_pid[stat.pid] = stat
    found = [by_pid[root]] if root in by_pid else []
    for stat in found:  # grows while it is walked
        found.extend(children.get(stat.pid, ()))
    return found


def seconds_of(stats: Iterable[Stat]) -> float:
    """The CPU time of living processes and of the children that they waited for."""
    return sum(stat.ticks + stat.children_ticks for stat in stats) / _TICKS


def read_all() -> list[Stat]:
    """Every process of this machine."""
    found = []
    for entry in os.listdir(_PROC):
        if entry.isdigit():
            with contextlib.suppress(*_GONE):
                found.append(parse_stat((_PROC / entry / "stat").read_text(errors="replace")))
    return found


def cpu_seconds(pid: int) -> float:
    """The CPU time of one process alone; 0 if it is gone."""
    try:
        return parse_stat((_PROC / str(pid) / "stat").read_text(errors="replace")).ticks / _TICKS
    except _GONE:
        return 0.0


def pss_bytes(pids: Iterable[int]) -> int:
    """The proportional memory of some processes together; those that are gone count nothing."""
    total = 0
    for pid in pids:
        with contextlib.suppress(*_GONE, PermissionError):
            total += parse_kilobytes((_PROC / str(pid) / "smaps_rollup").read_text(), "Pss") or 0
    return total


def rss_bytes(pids: Iterable[int]) -> int:
    """The resident memory of some processes, pages that they share counted for each."""
    return sum(_status(pid).get("VmRSS", 0) for pid in pids)


def peak_rss_bytes(pid: int) -> int:
    """The most memory that a process ever had."""
    return _status(pid).get("VmHWM", 0)


def _status(pid: int) -> Mapping[str, int]:
    try:
        text = (_PROC / str(pid) / "status").read_text()
    except _GONE:
        return {}
    return {key: size for key in ("VmRSS", "VmHWM") if (size := parse_kilobytes(text, key)) is not None}
