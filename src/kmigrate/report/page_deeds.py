"""The part of a report's page about what was done: fences, cutovers, effects, and the journal in its order.  (pure)"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from kmigrate.report.account import EffectAccount, EntryAccount, ReportDocument
from kmigrate.report.blocks import Block, Heading, Sentence, Table, table
from kmigrate.report.words import UNKNOWN, fold_alike, show_names, show_time, show_times
from kmigrate.security.fence import FencePhase
from kmigrate.state.journal import EFFECT_ENDS, EFFECTS_PLANNED, canonical

MOST_DETAIL = 400
"""Signs of a detail that are shown; the JSON form has it whole."""
MOST_ROWS = 2_000
_HASH_SIGNS = 16


def fence_blocks(account: ReportDocument) -> Iterator[Block]:
    """Fences, put and lifted."""
    yield Heading("Fences")
    if not account.fences:
        yield Sentence("None was put.")
        return
    yield table(
        ("Fence", "Cluster", "Kind", "Topics", "Principals", "Begun", "Stood", "Lifted", "Left as somebody changed it"),
        [
            (
                str(each.number),
                each.side.value,
                each.kind.value,
                show_names(each.topics),
                show_names(each.principals),
                show_time(each.since),
                "yes, every broker showed it" if each.stood else "never seen on all brokers",
                show_time(each.lifted_at) if each.phase is FencePhase.LIFTED else f"no: {each.phase.value}",
                "; ".join(each.left),
            )
            for each in account.fences
        ],
    )
    events = [(str(each.number), show_time(one.at), one.what) for each in account.fences for one in each.events]
    if events:
        yield Heading("What happened to them", 3)
        yield table(("Fence", "When", "What"), events)


def cutover_blocks(account: ReportDocument) -> Iterator[Block]:
    """Cutovers, as they are told."""
    yield Heading("Cutovers")
    yield _of_mappings(account.cutovers, times=("begun", "last")) if account.cutovers else Sentence("None is recorded.")


def unavailable_blocks(account: ReportDocument) -> Iterator[Block]:
    """When applications could not write or read because of a cutover."""
    yield Heading("Times of unavailability")
    yield (
        _of_mappings(account.unavailable, times=("since",))
        if account.unavailable
        else Sentence("None is recorded: they come from the cutovers' entries in the journal.")
    )


def deed_blocks(account: ReportDocument) -> Iterator[Block]:
    """Effects and the journal, each in its order; neighbours that are alike are one row."""
    yield Heading("What was done to the clusters")
    if account.effects:
        yield Sentence("Each was written down as planned before it was done, and as done once the cluster showed it.")
        yield table(
            ("Effects", "Kind", "What it is done to", "Planned", "Done", "Detail"),
            [_effect_row(some) for some in fold_alike(account.effects, _like_effect)],
            MOST_ROWS,
        )
    else:
        yield Sentence("Nothing but copying.")
    yield Heading("Journal")
    if account.journal:
        yield Sentence(
            f"Every decision in its order. Of details the first {MOST_DETAIL} signs are shown, of hashes "
            f"{_HASH_SIGNS}: the JSON form has all of them."
        )
        yield table(
            ("Entries", "When", "Kind", "Detail", "Hash of the last"),
            [_entry_row(some) for some in fold_alike(account.journal, _like_entry)],
            MOST_ROWS,
        )
    else:
        yield Sentence("Nothing was journaled.")


def _like_effect(each: EffectAccount) -> tuple[object, ...]:
    return each.kind, each.done_at is None, each.withdrawn, canonical(dict(each.payload))


def _effect_row(some: Sequence[EffectAccount]) -> tuple[str, ...]:
    first = some[0]
    return (
        _numbers([each.number for each in some]),
        first.kind,
        show_names([each.name for each in some]),
        show_times(each.planned_at for each in some),
        _done(first) or show_times(each.done_at for each in some),
        _shorten(canonical(dict(first.payload))),
    )


def _done(each: EffectAccount) -> str:
    """Why there is no time at which it was done; empty if there is one."""
    if each.withdrawn:
        return "refused, and withdrawn"
    return "not done" if each.done_at is None else ""


def _like_entry(each: EntryAccount) -> tuple[object, ...]:
    if each.kind in (*EFFECT_ENDS, EFFECTS_PLANNED):
        return each.kind, each.detail.get("kind")
    return each.kind, canonical(dict(each.detail))


def _entry_row(some: Sequence[EntryAccount]) -> tuple[str, ...]:
    first = some[0]
    if first.kind in EFFECT_ENDS:
        numbers = [each.detail.get("effect") for each in some]
        names = [str(each.detail.get("name", UNKNOWN)) for each in some]
        told = f"{first.detail.get('kind')} of {show_names(names)}: effects {_numbers(numbers)}"
    elif first.kind == EFFECTS_PLANNED:
        spans = [each.detail.get("effects") for each in some]
        told = f"{first.detail.get('kind')}: effects {', '.join(_span(each) for each in spans[:20])}"
    else:
        told = canonical(dict(first.detail))
    return (
        _numbers([each.number for each in some]),
        show_times(each.at for each in some),
        first.kind,
        _shorten(told),
        some[-1].hash[:_HASH_SIGNS],
    )


def _span(effects: Any) -> str:
    return _numbers(effects) if isinstance(effects, list) and effects else UNKNOWN


def _numbers(numbers: Sequence[Any]) -> str:
    first, last = numbers[0], numbers[-1]
    return str(first) if first == last else f"{first} to {last}"


def _shorten(text: str) -> str:
    return text if len(text) <= MOST_DETAIL else f"{text[:MOST_DETAIL]}…"


def _of_mappings(values: Sequence[Mapping[str, Any]], times: Collection[str]) -> Table:
    """A column for each key; the values of `times` are milliseconds since the epoch."""
    columns = list(dict.fromkeys(key for each in values for key in each))
    return table(
        columns, [[_at(each, key) if key in times else _word(each.get(key)) for key in columns] for each in values]
    )


def _at(mapping: Mapping[str, Any], key: str) -> str:
    at_ms = mapping.get(key)
    return show_time(at_ms) if isinstance(at_ms, int) else UNKNOWN


def _word(value: Any) -> str:
    if value is None:
        return UNKNOWN
    return _shorten(canonical(value)) if isinstance(value, dict | list | tuple) else str(value)
