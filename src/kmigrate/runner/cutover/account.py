"""What the journal tells of cutovers: how far each wave came, and for how long writers were kept waiting.  (pure)

Rule: only what the journal has is told; a time that has begun and not ended is told as such.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from kmigrate.runner.cutover.book import CUTOVER, LATE

ORDER_GIVEN_UP = "late records lie behind what was on the target when they came: order across the clusters is given up"


class Entry(Protocol):
    """An entry of the journal."""

    @property
    def at_ms(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def detail(self) -> Mapping[str, object]: ...


def cutovers_of(journal: Iterable[Entry]) -> list[dict[str, object]]:
    """Every wave that has begun, in that order: when, how many decisions, the step, and how it ended (null: not yet).

    Where late records were appended: how many (`lateAppended`), how many of each partition, and what that means for
    their order.
    `journal` is in the order of the decisions; times are in milliseconds since the epoch.
    """
    waves: dict[object, dict[str, object]] = {}
    for entry in journal:
        detail = entry.detail
        if entry.kind == LATE and detail.get("wave") in waves:
            waves[detail.get("wave")] |= _late(waves[detail.get("wave")], detail)
        if entry.kind != CUTOVER:
            continue
        told = waves.setdefault(detail.get("wave"), {"wave": detail.get("wave"), "begun": entry.at_ms})
        is_over = detail.get("phase") == "over"
        told |= {
            "decisions": detail.get("number"),
            "way": detail.get("way"),
            "step": detail.get("step"),
            "last": entry.at_ms,
            "outcome": detail.get("outcome") if is_over else None,
        }
    return list(waves.values())


def _late(told: Mapping[str, object], detail: Mapping[str, object]) -> dict[str, object]:
    """An entry tells all that lie on the target of its partitions; others stay as they were told."""
    known, new = told.get("latePartitions"), detail.get("partitions")
    assert isinstance(new, dict)
    partitions = {**(known if isinstance(known, dict) else {}), **new}
    return {"lateAppended": sum(partitions.values()), "latePartitions": partitions, "order": ORDER_GIVEN_UP}


def unavailable_of(journal: Iterable[Entry]) -> list[dict[str, object]]:
    """Every time in which writers of a wave were kept waiting: since when, for how many seconds (null: still), why it
    ended."""
    found: list[dict[str, object]] = []
    waiting: dict[object, dict[str, object]] = {}
    for entry in _decisions(journal):
        wave, is_frozen = entry.detail.get("wave"), bool(entry.detail.get("frozen"))
        if is_frozen and wave not in waiting:
            waiting[wave] = {"wave": wave, "since": entry.at_ms, "seconds": None, "ended": None}
            found.append(waiting[wave])
        elif not is_frozen and wave in waiting:
            told = waiting.pop(wave)
            since = told["since"]
            assert isinstance(since, int)
            told |= {"seconds": round((entry.at_ms - since) / 1000, 1), "ended": entry.detail.get("entry")}
    return found


def _decisions(journal: Iterable[Entry]) -> Iterable[Entry]:
    return (entry for entry in journal if entry.kind == CUTOVER)
