"""The pieces of the screen, each a Rich renderable made of a status document.  (pure)

Rule: nothing is told by color alone; a number that is not known shows as `?`; text names the reason. What is worst
comes first. Every piece fits 80 columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kmigrate.cli.amounts import show_bytes, show_count, show_duration, show_rate, show_share, show_short, show_time
from kmigrate.copy.states import PartitionState
from kmigrate.runner.groups_document import GroupsSummary
from kmigrate.runner.status import (
    EtaBasis,
    Flow,
    MigrationState,
    OpenTransaction,
    PartitionStatus,
    StatusDocument,
    TopicStatus,
)
from kmigrate.words import count_of

WIDE = 110
"""From this width on there is room for more columns."""

Spell = Callable[[str], str]
"""Puts the manifest's real file into a command line."""

_NUMBERS_WIDTH = 50
"""What the number columns of the topics take at most, with the gaps between all columns."""
_MOST_STATES_WIDTH = 40
"""What is shown of how many partitions are in which state."""

_STYLES = {
    MigrationState.RUNNING: "bold cyan",
    MigrationState.IN_SYNC: "bold green",
    MigrationState.WAITING: "bold yellow",
    MigrationState.PAUSED: "bold yellow",
    MigrationState.STOPPED: "bold red",
    MigrationState.SUPERSEDED: "bold red",
}
_ETA_WORDS = {
    EtaBasis.DONE: "in sync",
    EtaBasis.OUTPACED: "outpaced",
    EtaBasis.STOPPED: "stopped",
    EtaBasis.PAUSED: "paused",
    EtaBasis.UNKNOWN: "?",
}


_LOSING_SHOWN = 5


def headline(document: StatusDocument) -> Text:
    """Name, state and reason."""
    line = Text(overflow="fold")
    line.append(document.name, "bold")
    line.append("  ")
    line.append(document.state.value, _STYLES.get(document.state, "bold"))
    if document.reason:
        line.append(f"  {document.reason}")
    return line


def next_step(document: StatusDocument, spell: Spell) -> Text | None:
    """What a human should do next."""
    if not document.next_step:
        return None
    return Text.assemble(("next  ", "dim"), spell(document.next_step), overflow="fold")


def facts(document: StatusDocument, width: int) -> Text:
    """Clusters, workers, limit and, if there is room, the lease: in one line."""
    parts = []
    if document.source_cluster_id and document.target_cluster_id:
        parts.append(f"{document.source_cluster_id} → {document.target_cluster_id}")
    if document.workers:
        number, alive = len(document.workers), sum(each.alive for each in document.workers)
        workers = count_of(number, "worker")
        parts.append(workers if alive == number else f"{alive} of {workers} alive")
    limit = document.throttle_bytes_per_second
    parts.append("no limit" if limit is None else f"limit {show_rate(limit)}")
    if document.broker_bytes_per_second is not None:
        parts.append(f"{show_rate(document.broker_bytes_per_second)} for each broker")
    if topics := document.topic_bytes_per_second:
        parts.append(f"{count_of(len(topics), 'topic')} with a limit")
    if document.produce_latency_ms is not None:
        parts.append(f"Produce within {document.produce_latency_ms} ms")
    if document.lease_seconds_left is not None and width >= WIDE:
        parts.append(f"lease for {show_duration(max(0.0, document.lease_seconds_left))}")
    return Text("  ·  ".join(parts), "dim", overflow="fold")


def totals(flow: Flow, width: int) -> RenderableType:
    """Everything together: bar, rates, lag, ETA and what it rests on."""
    numbers = (
        f"{show_share(flow.done)}   {show_count(flow.records_per_second)} records/s   "
        f"{show_rate(flow.bytes_per_second)}   lag {show_lag(flow)}"
    )
    copied = f"{show_count(flow.records_copied)} records, {show_bytes(flow.bytes_copied)} copied in this run"
    return Group(_bar(flow, min(width, WIDE)), Text(numbers), Text(eta_words(flow)), Text(copied, "dim"))


def eta_words(flow: Flow) -> str:
    """The ETA and what it rests on, or why there is none."""
    if flow.eta_basis is EtaBasis.DONE:
        return "nothing is left to copy"
    if flow.eta_seconds is None:
        return f"no ETA: {flow.eta_basis.value}"
    return f"ETA {show_duration(flow.eta_seconds)}, {flow.eta_basis.value}"


def show_lag(flow: Flow) -> str:
    """Records and seconds behind."""
    if flow.lag_records == 0:
        return "0"
    if flow.lag_records is None:
        return "not known yet"
    records = f"{show_count(flow.lag_records)} record{'' if flow.lag_records == 1 else 's'}"
    return records if flow.lag_seconds is None else f"{records}, {show_duration(flow.lag_seconds)}"


def topics_table(topics: Iterable[TopicStatus], width: int, rows: int) -> RenderableType:
    """A line for each of the worst topics, and one that counts the others."""
    ordered = sorted(topics, key=badness)
    shown = ordered if len(ordered) <= rows else ordered[: max(1, rows - 1)]
    wide = width >= WIDE
    bar_width = 24 if wide else 8
    states_width = min(_MOST_STATES_WIDTH, max((len(show_states(each)) for each in shown), default=0)) if wide else 0
    name_width = width - bar_width - _NUMBERS_WIDTH - states_width
    table = _table()
    table.add_column("Topic", no_wrap=True)
    table.add_column("", no_wrap=True)
    for title in ("Done", "Rec/s", "Bytes/s", "Lag", "Behind", "ETA"):
        table.add_column(title, justify="right", no_wrap=True)
    if wide:
        table.add_column("Partitions", no_wrap=True, max_width=_MOST_STATES_WIDTH, overflow="ellipsis")
    for topic in shown:
        flow = topic.flow
        cells: list[RenderableType] = [
            Text(shorten(topic.topic, name_width), "red" if PartitionState.STOPPED in topic.states else ""),
            _bar(flow, bar_width),
            show_share(flow.done),
            show_short(flow.records_per_second),
            show_rate(flow.bytes_per_second),
            show_short(flow.lag_records),
            show_duration(flow.lag_seconds),
            show_eta(flow),
        ]
        table.add_row(*cells, *([show_states(topic)] if wide else []))
    others = ordered[len(shown) :]
    if not others:
        return table
    return Group(table, Text(f"… and {len(others):,} more, {_others(others)}", "dim"))


def shorten(name: str, width: int) -> str:
    """The name with its middle left out: beginnings are alike, ends differ."""
    if len(name) <= width:
        return name
    tail = (width - 1) * 2 // 3
    return f"{name[: width - 1 - tail]}…{name[len(name) - tail :]}"


def show_eta(flow: Flow) -> str:
    """A duration, or the word for why there is none."""
    if flow.eta_basis is EtaBasis.RATE:
        return show_duration(flow.eta_seconds)
    return _ETA_WORDS[flow.eta_basis]


def show_states(topic: TopicStatus) -> str:
    """How many partitions are in which state."""
    return ", ".join(f"{number:,} {state.value}" for state, number in topic.states.items())


def badness(topic: TopicStatus) -> tuple[bool, bool, int, str]:
    """Orders the worst first: with stops, then not known, then by lag."""
    flow = topic.flow
    return (
        PartitionState.STOPPED not in topic.states,
        flow.lag_records is not None,
        -(flow.lag_records or 0),
        topic.topic,
    )


_WELL = (PartitionState.IN_SYNC, PartitionState.HANDED_OVER)


def worst_partitions(document: StatusDocument, width: int, rows: int) -> RenderableType | None:
    """The partitions that are stopped or furthest behind; None if all are in sync, or handed over."""
    behind = [each for each in document.partitions if each.state not in _WELL]
    behind.sort(
        key=lambda each: (
            each.state is not PartitionState.STOPPED,
            each.lag_records is not None,
            -(each.lag_records or 0),
        )
    )
    if not behind:
        return None
    table = _table()
    table.add_column("Partition", no_wrap=True)
    table.add_column("State", no_wrap=True)
    for title in ("Position", "Source end", "Lag"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("Reason", no_wrap=True, overflow="ellipsis")
    for each in behind[:rows]:
        table.add_row(
            Text(shorten(each.name, width * 3 // 10)),
            Text(each.state.value),
            _offset(each.position),
            _offset(each.source_end),
            show_short(each.lag_records),
            Text(each.stop.kind.value if each.stop else each.reason),
        )
    if len(behind) <= rows:
        return table
    return Group(table, Text(f"… and {len(behind) - rows:,} more partitions that are not in sync", "dim"))


def stops(document: StatusDocument, spell: Spell, limit: int) -> RenderableType | None:
    """Every stop with its evidence and the command for each choice; None if there is none."""
    stopped = document.stopped
    if not stopped:
        return None
    title = Text(f"{len(stopped):,} stopped; each waits for one of its answers:", "bold red")
    lines: list[RenderableType] = [title, *(_stop(each, spell) for each in stopped[:limit])]
    if len(stopped) > limit:
        everything = spell("kmigrate status -f FILE -o json")
        lines.append(Text(f"… and {len(stopped) - limit:,} more: {everything}", "dim"))
    return Group(*lines)


def held_back(document: StatusDocument, limit: int) -> RenderableType | None:
    """Who holds partitions back on the source, with the command that ends what nothing else will; None if nobody."""
    held = document.held_back
    if not held:
        return None
    number = count_of(len(held), "partition")
    lines: list[RenderableType] = [Text(f"{number} held back by open transactions on the source:", "bold yellow")]
    for partition, found in held[:limit]:
        lines.append(Text(held_words(partition, found, document.updated_at), overflow="fold"))
        if remedy := abort_words(partition, found):
            lines.append(Padding(Text(remedy, "cyan", overflow="fold"), (0, 0, 0, 2), expand=False))
    if len(held) > limit:
        lines.append(Text(f"… and {len(held) - limit:,} more", "dim"))
    return Group(*lines)


def held_words(partition: PartitionStatus, found: OpenTransaction, now_ms: int | None) -> str:
    """A partition that is held back: how much, from where on, by whom and since when."""
    held = partition.held_back_records
    parts = [
        f"{partition.name}  {show_count(held)} offset{'' if held == 1 else 's'} from {found.first_offset} on",
        f"producer id {found.producer_id} (epoch {found.producer_epoch})",
        f"transactional id {'?' if found.transactional_id is None else repr(found.transactional_id)}",
        _open_words(found, now_ms),
    ]
    return ", ".join(parts)


def _open_words(found: OpenTransaction, now_ms: int | None) -> str:
    if found.hanging:
        return f"hanging: its coordinator is {found.state}, and not with this partition"
    if found.note:
        return found.note
    open_for = "open for ?"
    if found.since is not None and now_ms is not None:
        open_for = f"open for {show_duration(max(0, now_ms - found.since) / 1000)}"
    most = "" if found.timeout_ms is None else f" of at most {show_duration(found.timeout_ms / 1000)}"
    return open_for + most


def abort_words(partition: PartitionStatus, found: OpenTransaction) -> str:
    """The command that ends a hanging transaction, with the condition if it may not hang; empty if it does not."""
    if found.hanging is False:
        return ""
    command = (
        f"kafka-transactions.sh --bootstrap-server SOURCE abort --topic {partition.topic}"
        f" --partition {partition.partition} --start-offset {found.first_offset}"
    )
    return command if found.hanging else f"if it hangs: {command}"


def beside(document: StatusDocument) -> RenderableType | None:
    """Notices, lost state, waived partitions, consumer groups, topics under hold and topics left out."""
    lines: list[Text] = []
    if document.state_lost:
        lines.append(Text(f"state lost: {document.state_lost}", "yellow"))
    lines += [Text(f"note: {notice}", "yellow") for notice in document.notices]
    for topic in document.losing[:_LOSING_SHOWN]:
        lines.append(
            Text(
                f"topic {topic.topic} loses data in {show_duration(topic.loss_seconds)} at this rate:"
                f" kmigrate retention raise -t {topic.topic}",
                "bold yellow",
            )
        )
    if waived := document.waived:
        lines.append(Text(f"waived: {_some([each.name for each in waived])}"))
    if accepted := document.accepted:
        told = [
            f"{each.name} ({stop.kind.value} at offset {stop.offset}, {show_time(stop.at)})" for each, stop in accepted
        ]
        lines.append(Text(f"accepted: {_some(told)}", "yellow"))
    if document.groups is not None:
        lines.append(Text(groups_line(document.groups), "yellow" if document.groups.failed else ""))
    if held := document.held:
        lines.append(Text(f"{count_of(len(held), 'topic')} under hold: {_some(list(held))}", "dim"))
    if document.left_out:
        told = [f"{each.topic} ({each.reason})" for each in document.left_out]
        lines.append(Text(f"left out: {_some(told)}", "dim"))
    return Group(*lines) if lines else None


def groups_line(summary: GroupsSummary) -> str:
    """How many consumer groups have which outcome."""
    numbers = {
        "synced": summary.synced,
        "waiting": summary.waiting,
        "moved": summary.moved,
        "skipped": summary.skipped,
        "failed": summary.failed,
        "unsupported": len(summary.unsupported),
    }
    told = ", ".join(f"{number:,} {name}" for name, number in numbers.items() if number) or "none"
    return f"consumer groups: {told}; differences: {summary.differences:,}"


def _stop(partition: PartitionStatus, spell: Spell) -> RenderableType:
    stop = partition.stop
    if stop is None:
        return Text()
    what = Text.assemble((partition.name, "bold"), f"  {stop.kind.value} at offset {stop.offset}: {stop.meaning}")
    choices = [Text(f"{each.choice.value:<9} {spell(each.command)}", "cyan") for each in stop.choices]
    return Group(what, Padding(Group(Text(stop.evidence), *choices), (0, 0, 0, 2), expand=False))


def _bar(flow: Flow, width: int) -> Text:
    filled = int((flow.done or 0.0) * width)
    return Text.assemble(("━" * filled, "cyan"), ("─" * (width - filled), "dim"), no_wrap=True)


def _table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")


def _offset(offset: int | None) -> str:
    return "?" if offset is None else str(offset)


def _others(topics: list[TopicStatus]) -> str:
    behind = sum(1 for topic in topics if topic.flow.lag_records != 0)
    return f"{behind:,} of them behind" if behind else "none of them behind"


def _some(names: list[str], most: int = 8) -> str:
    more = f" … and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
