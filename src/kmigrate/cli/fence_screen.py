"""Fences as lines and rows.  (pure)"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kmigrate.cli.amounts import show_duration, show_time
from kmigrate.runner.fence_status import FenceStatus
from kmigrate.security.fence import FenceKind, FencePhase
from kmigrate.words import count_of

COLUMNS = ("number", "side", "kind", "phase", "topics", "principals", "since", "deadline", "watched", "left", "removal")
_TOPICS_SHOWN = 5
_NOBODY = "nobody watches it, nothing lifts it by itself: kmigrate fence watch -f FILE"


def rows(fences: Iterable[FenceStatus]) -> Iterator[tuple[str, ...]]:
    """A row for each fence, for CSV."""
    for each in fences:
        yield (
            str(each.number),
            each.side.value,
            each.kind.value,
            each.phase.value,
            " ".join(each.topics),
            " ".join(each.principals),
            str(each.since),
            "" if each.deadline is None else str(each.deadline),
            str(each.is_watched).lower(),
            "; ".join(each.left),
            "; ".join(each.removal),
        )


def fence_words(fence: FenceStatus) -> str:
    """`fence 2 (acl) around 3 topics of the source STANDING since …, lifted in 9m30s unless confirmed`."""
    topics = ", ".join(fence.topics[:_TOPICS_SHOWN])
    if len(fence.topics) > _TOPICS_SHOWN:
        topics += f" … and {len(fence.topics) - _TOPICS_SHOWN:,} more"
    text = f"fence {fence.number} ({fence.kind.value}) on the {fence.side} {fence.phase.value}: {topics}"
    if fence.principals:
        text += f"; denied: {', '.join(fence.principals)}"
    text += f"; since {show_time(fence.since)}"
    if fence.deadline is not None:
        text += f", lifted {_when(fence)} unless it is confirmed"
    return text


def fence_panel(fences: Sequence[FenceStatus]) -> RenderableType | None:
    """Each fence that is not lifted, with the lines that remove it by hand; None if there is none."""
    shown: list[RenderableType] = []
    for each in fences:
        if each.phase is FencePhase.LIFTED:
            continue
        shown.append(Text(fence_words(each), "bold yellow", overflow="fold"))
        about = [] if each.is_watched else [Text(_NOBODY, "bold red", overflow="fold")]
        by_hand = [Text(f"by hand: {line}", "cyan", overflow="fold") for line in each.removal]
        shown.append(Padding(Group(*about, *by_hand), (0, 0, 0, 2), expand=False))
    return Group(*shown) if shown else None


def fences_table(fences: Sequence[FenceStatus]) -> RenderableType:
    """A line for each fence that is remembered."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for title in ("Fence", "Side", "Kind", "Phase", "Topics", "Since", "Deadline"):
        table.add_column(title, no_wrap=title != "Topics", overflow="fold")
    for each in fences:
        topics = ", ".join(each.topics[:2]) + (f" … {len(each.topics):,}" if len(each.topics) > 2 else "")
        deadline = "" if each.deadline is None else _when(each)
        table.add_row(
            *(str(each.number), each.side.value, each.kind.value, each.phase.value, topics),
            *(show_time(each.since), deadline),
        )
    return table


def fences_screen(fences: Sequence[FenceStatus], *, wide: bool) -> RenderableType:
    """All fences; those that stand with their removal lines, with `wide` each with its story."""
    if not fences:
        return Text("no fence was ever put by this migration")
    blocks: list[RenderableType] = [fences_table(fences)]
    panel = fence_panel(fences)
    if panel is not None:
        blocks += [Text(), panel]
    for each in fences:
        for left in each.left:
            blocks.append(Text(f"fence {each.number} left as it is: {left}", "yellow", overflow="fold"))
        if wide:
            blocks += [Text(f"fence {each.number}: {line}", "dim", overflow="fold") for line in each.story]
    return Group(*blocks)


def put_words(kind: FenceKind, topics: Sequence[str], side: object, period_seconds: float) -> str:
    """What `put` is about to do."""
    what = "denies WRITE" if kind is FenceKind.ACL else "sets min.insync.replicas above the replica count"
    names = ", ".join(topics[:_TOPICS_SHOWN]) + (" …" if len(topics) > _TOPICS_SHOWN else "")
    number = count_of(len(topics), "topic")
    return (
        f"This writes to the {str(side).upper()}: it {what} on {number} ({names}),"
        f" and is lifted {show_duration(period_seconds)} later unless it is confirmed."
    )


def _when(fence: FenceStatus) -> str:
    return "now" if not fence.seconds_left else f"in {show_duration(fence.seconds_left)}"
