"""The judge's verdict as two tables, on stdout."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from kmigrate.demo.service.judge import GroupVerdict, ProducerVerdict, Verdict
from kmigrate.kafka_types import Side

_WIDTH = 120
_PRODUCERS = ("Producer", "Acknowledged", "on the source", "on the target", "Longest pause")
_GROUPS = (
    *("Group", "To read", "Processed", "on the source", "on the target"),
    *("Lost", "Repeated", "Out of order", "Longest pause"),
)


def print_verdict(verdict: Verdict, *, color: bool) -> None:
    """Prints what became of every record, by producer and by group."""
    console = Console(no_color=None if color else True, highlight=False)
    if not console.is_terminal:
        console = Console(no_color=True, highlight=False, width=_WIDTH)
    console.print(_table(_PRODUCERS, {each.name: _producer_row(each) for each in verdict.producers}, set()))
    wrong = {each.group for each in verdict.groups if each.lost or each.repeated or each.out_of_order}
    console.print(_table(_GROUPS, {each.group: _group_row(each) for each in verdict.groups}, wrong))


def _table(headings: tuple[str, ...], rows: dict[str, tuple[str, ...]], wrong: set[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in headings:
        table.add_column(heading, justify="left" if heading == headings[0] else "right", overflow="fold")
    for name, row in rows.items():
        table.add_row(name, *row, style="bold red" if name in wrong else None)
    return table


def _producer_row(each: ProducerVerdict) -> tuple[str, ...]:
    counts = (each.acknowledged, each.by_side.get(Side.SOURCE, 0), each.by_side.get(Side.TARGET, 0))
    return (*(f"{count:,}" for count in counts), f"{each.longest_pause_seconds:.1f} s")


def _group_row(each: GroupVerdict) -> tuple[str, ...]:
    sides = (each.by_side.get(Side.SOURCE, 0), each.by_side.get(Side.TARGET, 0))
    counts = (each.expected, each.processed, *sides, each.lost, each.repeated, each.out_of_order)
    return (*(f"{count:,}" for count in counts), f"{each.longest_pause_seconds:.1f} s")
