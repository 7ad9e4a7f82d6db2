"""Reads what is kept of a migration, for a report: its store, and the fences in its folder.

Rule: reads only. Journal, effects and the chain's head are of one moment; the rest may be a moment younger.
"""

from __future__ import annotations

from kmigrate.kafka_types import Side
from kmigrate.runner.beginnings import START
from kmigrate.runner.ledger import Ledger, Reset
from kmigrate.runner.start import BEGUN_MS, CLUSTER_ID, NAME, TERM
from kmigrate.state.fence_book import FenceBook
from kmigrate.state.group_book import GroupBook
from kmigrate.state.journal import check_chain
from kmigrate.state.store import Store


def read_ledger(store: Store, now_ms: int) -> Ledger:
    """What is kept now."""
    folder = store.path.parent
    rows, effects, head = store.told()
    cluster_ids = {side: store.get(CLUSTER_ID[side]) for side in Side}
    return Ledger(
        name=store.get(NAME) or folder.name,
        read_at_ms=now_ms,
        cluster_ids={side: found for side, found in cluster_ids.items() if found is not None},
        begun_ms=_whole(store.get(BEGUN_MS)),
        start=store.get(START),
        term=_whole(store.get(TERM)),
        journal=tuple(row.entry for row in rows),
        effects=tuple(row.entry for row in effects),
        chain=check_chain(rows, head, effects),
        intended=store.intended(),
        beginnings=store.beginnings(),
        classes=store.offset_classes(),
        map_runs=store.count_runs(),
        fences=tuple(FenceBook(folder).fences()),
        resets=tuple(
            Reset(each.number, each.group, each.at_ms, each.undone_ms, each.payload)
            for each in GroupBook(store).resets()
        ),
    )


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None
