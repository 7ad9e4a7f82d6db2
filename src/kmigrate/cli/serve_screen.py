"""The table of all migrations, made of a migrations document.  (pure)"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kmigrate.cli.amounts import show_duration, show_rate, show_short
from kmigrate.cli.panels import shorten
from kmigrate.runner.status import MigrationState
from kmigrate.serve.document import MigrationsDocument, MigrationSummary, Served
from kmigrate.serve.machine import Phase, Wanted

COLUMNS = (
    "name",
    "state",
    "owner",
    "host",
    "served",
    "lagRecords",
    "lagSeconds",
    "bytesPerSecond",
    "stopped",
    "reason",
    "nextStep",
)
"""What a row of the CSV tells."""

_NUMBERS_WIDTH = 52
_STYLES = {
    MigrationState.STOPPED: "red",
    MigrationState.SUPERSEDED: "red",
    MigrationState.WAITING: "yellow",
    MigrationState.PAUSED: "yellow",
}


def migrations_screen(document: MigrationsDocument, width: int) -> RenderableType:
    """A line for each migration, and what else there is to say."""
    if not document.migrations:
        return Group(Text(f"no migration in {document.state_folder}"), *_beside(document))
    table = _table()
    name_width = min(width // 4, max(len(each.name) for each in document.migrations))
    table.add_column(
        "Reason", no_wrap=True, overflow="ellipsis", max_width=max(10, width - name_width - _NUMBERS_WIDTH)
    )
    for each in document.migrations:
        table.add_row(*_cells(each, name_width), Text(_first_line(each.reason)))
    return Group(table, *_beside(document))


def wide_screen(document: MigrationsDocument) -> RenderableType:
    """A block for each migration: everything that the list knows of it."""
    blocks: list[RenderableType] = []
    for each in document.migrations:
        heading = Text.assemble((each.name, "bold"), "  ", _state(each), f"  {each.reason}", overflow="fold")
        blocks.append(heading)
        if each.next_step:
            blocks.append(Text(f"  next   {each.next_step}", overflow="fold"))
        blocks += [Text(f"  {line}", "dim", overflow="fold") for line in _details(each)]
        blocks.append(Text())
    return Group(*blocks, *_beside(document))


def rows(document: MigrationsDocument) -> Iterator[tuple[object, ...]]:
    """The rows of the CSV."""
    for each in document.migrations:
        flow = each.totals
        yield (
            each.name,
            "" if each.state is None else each.state.value,
            "" if each.owner is None else each.owner.pid,
            "" if each.owner is None else each.owner.host,
            served_words(each.served),
            "" if flow.lag_records is None else flow.lag_records,
            "" if flow.lag_seconds is None else flow.lag_seconds,
            flow.bytes_per_second,
            each.stopped,
            each.reason,
            each.next_step,
        )


def served_words(served: Served | None) -> str:
    """What serve does about it, in a word; what it will do, where none runs."""
    if served is None:
        return "-"
    if served.phase is not None:
        return served.phase.value
    return "to run" if served.wanted is Wanted.RUNNING else served.wanted.value


def _cells(each: MigrationSummary, name_width: int) -> Iterator[Text]:
    running = each.owner is not None
    yield Text(shorten(each.name, name_width))
    yield _state(each)
    yield Text(served_words(each.served), "red" if each.served and each.served.phase is Phase.ENDED else "")
    yield Text(str(each.owner.pid) if each.owner is not None else "-")
    yield Text(show_short(each.totals.lag_records) if running else "-")
    yield Text(show_rate(each.totals.bytes_per_second) if running else "-")
    yield Text(str(each.stopped), "red" if each.stopped else "")


def _state(each: MigrationSummary) -> Text:
    if each.state is None:
        return Text("no answer", "red")
    return Text(each.state.value, _STYLES.get(each.state, ""))


def _details(each: MigrationSummary) -> Iterator[str]:
    if each.owner is not None:
        yield f"owner  process {each.owner.pid} on {each.owner.host}"
    if each.served is not None:
        served = each.served
        again = "" if not served.again_in_seconds else f", an owner starts in {show_duration(served.again_in_seconds)}"
        restarts = f", started again {served.restarts} times" if served.restarts else ""
        yield f"serve  {served_words(served)}{again}{restarts}; manifest from {served.file}"
        if served.last_exit is not None and served.last_exit.reason != each.reason:
            yield f"before {served.last_exit.reason}"
    if each.source_cluster_id is not None:
        yield f"copies {each.source_cluster_id} → {each.target_cluster_id}"


def _beside(document: MigrationsDocument) -> Iterator[Text]:
    for trouble in document.troubles:
        yield Text(f"trouble: {trouble}", "yellow", overflow="fold")
    if document.served_by is None and any(each.served is not None for each in document.migrations):
        yield Text("no serve runs here: `kmigrate serve` starts what is to run", "yellow")


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _table() -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for title in ("Migration", "State", "Serve", "Owner"):
        table.add_column(title, no_wrap=True)
    for title in ("Lag", "Rate", "Stops"):
        table.add_column(title, justify="right", no_wrap=True)
    return table
