"""The part of a report's page about proof: what was verified, what stopped, and what an operator answered.  (pure)"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from kmigrate.report.account import ReportDocument, VerificationAccount
from kmigrate.report.blocks import Block, Heading, Sentence, table
from kmigrate.report.words import (
    UNKNOWN,
    show_names,
    show_number,
    show_offset,
    show_range,
    show_ranges,
    show_time,
    show_times,
)


def verification_blocks(account: ReportDocument) -> Iterator[Block]:
    """What was compared, in which mode, when, and what was found."""
    yield Heading("Verification")
    found: dict[tuple[str, str], list[VerificationAccount]] = defaultdict(list)
    named: list[tuple[str, VerificationAccount]] = []
    for topic in account.topics:
        for each in topic.partitions:
            for verification in each.verifications:
                found[verification.mode, verification.verdict].append(verification)
                named.append((f"{topic.topic}-{each.partition}", verification))
    if not found:
        yield Sentence("No partition was verified.")
        return
    yield Sentence(
        "The last verification of each partition in each mode. Offsets are the source's; what was copied since is not "
        "verified. The range of each partition is with each partition above."
    )
    yield table(
        ("Mode", "Result", "Partitions", "Offsets compared", "Records read", "Copied since", "When"),
        [
            (
                mode,
                verdict,
                show_number(len(some)),
                show_number(sum((each.end or 0) - (each.start or 0) for each in some)),
                show_number(sum(each.records for each in some)),
                _show_since(some),
                show_times(each.at for each in some),
            )
            for (mode, verdict), some in sorted(found.items())
        ],
    )
    different = [(name, each) for name, each in named if each.verdict == "different"]
    if different:
        yield Heading("Differences", 3)
        yield table(
            ("Partition", "Mode", "Source offset", "Target offset", "What", "Compared", "When"),
            [
                (
                    name,
                    each.mode,
                    UNKNOWN if each.difference is None else show_offset(each.difference.source_offset),
                    "none" if each.difference is None else _show_target(each.difference.target_offset),
                    each.reason if each.difference is None else each.difference.words,
                    show_range(each.start, each.end),
                    show_time(each.at),
                )
                for name, each in different
            ],
        )
    unknown = [(name, each) for name, each in named if each.verdict == "unknown"]
    if unknown:
        yield Heading("What could not be compared", 3)
        yield table(
            ("Partition", "Mode", "Why", "When"),
            [(name, each.mode, each.reason, show_time(each.at)) for name, each in unknown],
        )


def _show_since(some: Sequence[VerificationAccount]) -> str:
    known = [each.unverified for each in some if each.unverified is not None]
    told = show_number(sum(known)) if known else UNKNOWN
    return told if len(known) in (0, len(some)) else f"{told}; {UNKNOWN} of {len(some) - len(known):,}"


def _show_target(offset: int | None) -> str:
    return "none" if offset is None else str(offset)


def stop_blocks(account: ReportDocument) -> Iterator[Block]:
    """Stops as they stand, what an operator went on with, and every answer."""
    yield Heading("Stops, answers and waivers")
    every = [(f"{topic.topic}-{each.partition}", each) for topic in account.topics for each in topic.partitions]
    stopped = [(name, each.stop, each.waived) for name, each in every if each.stop is not None]
    if stopped:
        yield table(
            ("Partition", "Stop", "Offset", "Evidence", "Answered"),
            [
                (
                    name,
                    f"{stop.kind.value}: {stop.meaning}",
                    show_offset(stop.offset),
                    stop.evidence,
                    "waived: left as it is" if waived else "not answered",
                )
                for name, stop, waived in stopped
            ],
        )
    else:
        yield Sentence("No partition is stopped." if account.state is not None else f"Stops: {UNKNOWN}.")
    accepted = [(name, each.accepted) for name, each in every if each.accepted is not None]
    if accepted:
        yield Heading("What an operator went on with", 3)
        yield table(
            ("Partition", "Stop", "Offset", "Evidence", "When"),
            [
                (name, one.kind.value, show_offset(one.offset), one.evidence, show_time(one.at))
                for name, one in accepted
            ],
        )
    answers = [each for each in account.journal if each.kind in ("answer", "recreated")]
    if answers:
        yield Heading("Answers, in their order", 3)
        yield table(
            ("Entry", "When", "Topic", "Partitions", "Answer", "Of the stops"),
            [
                (
                    str(each.number),
                    show_time(each.at),
                    str(each.detail.get("topic", UNKNOWN)),
                    _show_partitions(each.detail.get("partitions")),
                    str(each.detail.get("choice", "created anew on the target")),
                    _show_stops(each.detail.get("stops")),
                )
                for each in answers
            ],
        )


def _show_partitions(partitions: Any) -> str:
    if not isinstance(partitions, list) or not all(isinstance(each, int) for each in partitions):
        return "all"
    return show_ranges(partitions)


def _show_stops(stops: Any) -> str:
    if not isinstance(stops, list):
        return ""
    return show_names([" ".join(map(str, each)) if isinstance(each, list) else str(each) for each in stops])
