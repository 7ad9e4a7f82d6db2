"""The part of a report's page about topics: their partitions, and their settings on the target.  (pure)"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from kmigrate.report.account import PartitionAccount, ReportDocument, TopicAccount, VerificationAccount
from kmigrate.report.blocks import Block, Everything, Heading, Sentence, table
from kmigrate.report.words import (
    UNKNOWN,
    show_names,
    show_number,
    show_offset,
    show_range,
    show_ranges,
    show_span,
    show_time,
    show_times,
)
from kmigrate.topics.intended import Origin

_WHOSE = {Origin.SOURCE: "the source's", Origin.TARGET: "the target's own", Origin.LOST: "lost", None: UNKNOWN}


class _Alike(NamedTuple):
    """What partitions must have in common to be one row."""

    offset_class: str
    state: str
    verified: str
    special: str


def _alike(each: PartitionAccount) -> _Alike:
    special = []
    if each.stop is not None:
        special.append(f"{each.stop.kind.value}{' (waived)' if each.waived else ''}")
    if each.accepted is not None:
        special.append(f"accepted {each.accepted.kind.value}")
    return _Alike(
        UNKNOWN if each.offset_class is None else each.offset_class.value,
        UNKNOWN if each.state is None else each.state.value,
        ", ".join(f"{found.mode} {found.verdict}" for found in each.verifications) or "not verified",
        ", ".join(special),
    )


def _fold_topic(topic: TopicAccount) -> dict[_Alike, list[PartitionAccount]]:
    found: dict[_Alike, list[PartitionAccount]] = defaultdict(list)
    for each in topic.partitions:
        found[_alike(each)].append(each)
    return found


def topic_blocks(account: ReportDocument) -> Iterator[Block]:
    """Topics and partitions: class, state, beginnings, ends and positions, and the topics that were left out."""
    yield Heading("Topics and partitions")
    if not account.topics:
        yield Sentence("None is known.")
        return
    yield Sentence(
        "What is alike is one row. Offsets are those of the source but for the target's end; of several partitions the "
        "lowest and the highest. Copied is all below the position."
    )
    alike: dict[object, list[tuple[TopicAccount, dict[_Alike, list[PartitionAccount]]]]] = defaultdict(list)
    for topic in account.topics:
        folded = _fold_topic(topic)
        shape = tuple((key, show_ranges(each.partition for each in some)) for key, some in folded.items())
        alike[shape].append((topic, folded))
    rows: list[tuple[str, ...]] = []
    for same in alike.values():
        names = show_names([topic.topic for topic, _ in same])
        markers = [topic.markers_written for topic, _ in same if topic.markers_written is not None]
        shapes = same[0][1]
        for key, first in shapes.items():
            every = [each for _, folded in same for each in folded[key]]
            rows.append(
                (
                    names,
                    f"{show_ranges(each.partition for each in first)} ({len(every):,})",
                    key.offset_class,
                    key.state,
                    show_span(each.begins_at for each in every),
                    show_span(each.source_start for each in every),
                    show_span(each.source_end for each in every),
                    show_span(each.position for each in every),
                    show_span(each.target_end for each in every),
                    show_number(sum(markers)) if markers else UNKNOWN,
                    key.verified,
                    key.special,
                )
            )
        if not shapes:
            rows.append((names, "none is known", *[UNKNOWN] * 8, "", ""))
    yield table(
        (
            "Topics",
            "Partitions",
            "Class",
            "State",
            "Begins at",
            "Source start",
            "Source end",
            "Position",
            "Target end",
            "Markers of the topics",
            "Verified",
            "Stops",
        ),
        rows,
    )
    yield Everything(
        f"Every partition ({account.totals.partitions:,})",
        table(
            (
                "Partition",
                "Class",
                "State",
                "Begins at",
                "Source start",
                "Source end",
                "Position",
                "Target end",
                "Filler allotted",
                "Runs of the map",
                "Verified",
                "Reason",
            ),
            [_partition_row(topic.topic, each) for topic in account.topics for each in topic.partitions],
        ),
    )
    if account.left_out:
        yield Heading("Topics left out", 3)
        by_reason: dict[str, list[str]] = defaultdict(list)
        for left in account.left_out:
            by_reason[left.reason].append(left.topic)
        yield table(("Topics", "Reason"), [(show_names(names), reason) for reason, names in by_reason.items()])


def _partition_row(topic: str, each: PartitionAccount) -> tuple[str, ...]:
    alike = _alike(each)
    return (
        f"{topic}-{each.partition}",
        alike.offset_class,
        alike.state,
        show_offset(each.begins_at),
        show_offset(each.source_start),
        show_offset(each.source_end),
        show_offset(each.position),
        show_offset(each.target_end),
        show_number(each.filler),
        _show_runs(each),
        "; ".join(map(_verification, each.verifications)) or "not verified",
        each.reason,
    )


def _show_runs(each: PartitionAccount) -> str:
    if each.offset_class is None:
        return UNKNOWN
    return "none needed" if each.map_runs is None else show_number(each.map_runs)


def _verification(found: VerificationAccount) -> str:
    return f"{found.mode} {found.verdict}, {show_range(found.start, found.end)}, {show_time(found.at)}"


def settings_blocks(account: ReportDocument) -> Iterator[Block]:
    """Settings, held and intended."""
    yield Heading("Settings")
    held = [each for each in account.topics if each.settings.held]
    yield Sentence(
        f"{len(held):,} topics are under hold on the target: {_show_settings(account.hold)}; the limits of timestamps "
        "are open, and max.message.bytes is at least the source's. Intended is what they are to have of their own in "
        "the end."
    )
    alike: dict[tuple[str, ...], list[TopicAccount]] = defaultdict(list)
    for topic in account.topics:
        found = topic.settings
        state = "held" if found.held else UNKNOWN if found.restored_at is None else "restored"
        alike[
            state, _WHOSE[found.origin], UNKNOWN if found.intended is None else _show_settings(found.intended)
        ].append(topic)
    yield table(
        ("Topics", "Settings", "Whose", "Intended", "Restored"),
        [
            (
                show_names([each.topic for each in some]),
                *key,
                show_times(each.settings.restored_at for each in some) if key[0] == "restored" else "",
            )
            for key, some in alike.items()
        ],
    )


def _show_settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(settings.items())) or "nothing of its own"
