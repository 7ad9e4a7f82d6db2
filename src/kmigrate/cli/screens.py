"""Whole screens out of the panels: the live view, `status`, and the closing summary.  (pure)"""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.text import Text

from kmigrate.cli import panels
from kmigrate.cli.amounts import show_bytes, show_count, show_duration, show_rate
from kmigrate.cli.fence_screen import fence_panel
from kmigrate.runner.status import MigrationState, StatusDocument

LIVE_STOPS = 3
LIVE_HELD_BACK = 3
MIN_TOPICS = 3
STATUS_STOPS = 20
STATUS_HELD_BACK = 10
WORST_PARTITIONS = 10
STATUS_TOPICS = 10
_BLANK = Text()


def live_screen(document: StatusDocument, console: Console, spell: panels.Spell) -> RenderableType:
    """What `run` shows on a terminal: fits its height, the worst topics first."""
    width, height = console.size
    step = panels.next_step(document, spell)
    top = Group(
        panels.headline(document),
        *([step] if step is not None else []),
        panels.facts(document, width),
        panels.totals(document.totals, width),
        _BLANK,
    )
    bottom: RenderableType = Group()
    for limit in range(LIVE_STOPS, 0, -1):
        bottom = Group(*_stacked(panels.stops(document, spell, limit)))
        if _height(console, bottom) <= height // 2:
            break
    room = min(height // 2, height - _height(console, top) - MIN_TOPICS - 2)
    for limit in range(LIVE_HELD_BACK, 0, -1):
        with_held_back = Group(bottom, *_stacked(panels.held_back(document, limit)))
        if _height(console, with_held_back) <= room:
            bottom = with_held_back
            break
    rows = height - _height(console, top) - _height(console, bottom) - 2
    return Group(top, panels.topics_table(document.topics, width, max(MIN_TOPICS, rows)), bottom)


def status_screen(
    document: StatusDocument, width: int, spell: panels.Spell, *, is_whole: bool = False
) -> RenderableType:
    """What `status` shows: state, next step, totals, topics, worst partitions, stops, open transactions.

    `is_whole`: every topic, every partition that is not in sync and every stop, not the first few.
    """

    def most(rows: int) -> int:
        return len(document.topics) + len(document.partitions) if is_whole else rows

    first: list[RenderableType] = [panels.headline(document)]
    step = panels.next_step(document, spell)
    if step is not None:
        first.append(step)
    fences = fence_panel(document.fences)
    if fences is not None:
        first.append(fences)
    if document.state is MigrationState.NOT_STARTED:
        return Group(*first)
    return Group(
        *first,
        panels.facts(document, width),
        *_stacked(
            panels.totals(document.totals, width),
            panels.topics_table(document.topics, width, most(STATUS_TOPICS)) if document.topics else None,
            panels.worst_partitions(document, width, most(WORST_PARTITIONS)),
            panels.stops(document, spell, most(STATUS_STOPS)),
            panels.held_back(document, most(STATUS_HELD_BACK)),
            panels.beside(document),
        ),
    )


def closing_screen(document: StatusDocument, spell: panels.Spell, log: str) -> RenderableType:
    """What `run` leaves on the screen when it ends."""
    flow = document.totals
    copied = f"copied  {show_count(flow.records_copied)} records, {show_bytes(flow.bytes_copied)}"
    if document.started_at is not None and document.updated_at is not None:
        seconds = (document.updated_at - document.started_at) / 1000
        copied += f" in {show_duration(seconds)}"
        if seconds > 0:
            copied += f", {show_rate(flow.bytes_copied / seconds)} on average"
    lines: list[RenderableType] = [panels.headline(document), Text(copied)]
    if document.topics:
        lines.append(Text(f"behind  {panels.show_lag(flow)}"))
    step = panels.next_step(document, spell)
    if step is not None:
        lines.append(step)
    lines.append(Text(f"log   {log}", "dim", overflow="fold"))
    return Group(
        *lines,
        *_stacked(
            panels.stops(document, spell, STATUS_STOPS),
            panels.held_back(document, STATUS_HELD_BACK),
            panels.beside(document),
        ),
    )


def plain_line(document: StatusDocument) -> str:
    """One line for a log or a pipe: state, reason, rates, lag, ETA and what it rests on."""
    flow = document.totals
    parts = [f"{document.name} {document.state.value}: {document.reason or 'no reason is known'}"]
    if document.topics:
        parts += [
            f"{show_count(flow.records_per_second)} records/s",
            show_rate(flow.bytes_per_second),
            f"lag {panels.show_lag(flow)}",
            panels.eta_words(flow),
        ]
    return ", ".join(parts)


def _height(console: Console, block: RenderableType) -> int:
    return len(console.render_lines(block))


def _stacked(*blocks: RenderableType | None) -> list[RenderableType]:
    """The blocks that there are, each after an empty line."""
    lines: list[RenderableType] = []
    for block in blocks:
        if block is not None:
            lines += [_BLANK, block]
    return lines
