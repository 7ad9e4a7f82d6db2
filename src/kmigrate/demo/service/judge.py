"""The judge: what became of every record that was acknowledged, by what applications noted down.  (pure)

Rule: only what was noted counts, never what anybody meant to do. A record is *lost* for a group if it was acknowledged,
and the group is to get it and never processed it; each further processing of it is *repeated*; it is *out of order* if
it was first processed after a later one of the same producer and key.

A producer's pause is the time between two acknowledgements. A group's is the time between two records that it
processed for the first time, as far as an acknowledged record was there that it had not: to wait for nothing is no
pause.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from kmigrate.demo.service.entries import Acknowledged, Identity, Place, Processed, ServiceLedger
from kmigrate.kafka_types import Side

_SHOWN_OF_A_KIND = 5
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerVerdict:
    """One producer: how many of its records were acknowledged, by side, and its longest pause in seconds."""

    name: str
    acknowledged: int
    by_side: Mapping[Side, int]
    longest_pause_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupVerdict:
    """One group: counts of records. `processed` counts each record once, `by_side` where it was processed first.

    `unacknowledged` are those that it processed though no producer knows of them: written, but the answer did not
    come. They are not lost by anybody, and judged like others.
    """

    group: str
    expected: int
    processed: int
    by_side: Mapping[Side, int]
    lost: int
    repeated: int
    out_of_order: int
    unacknowledged: int
    longest_pause_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All producers and groups by name; `findings` describes the first few of each kind of wrong."""

    producers: tuple[ProducerVerdict, ...]
    groups: tuple[GroupVerdict, ...]
    findings: tuple[str, ...] = ()

    @property
    def acknowledged(self) -> int:
        return sum(each.acknowledged for each in self.producers)

    @property
    def processed(self) -> int:
        return sum(each.processed for each in self.groups)

    @property
    def lost(self) -> int:
        return sum(each.lost for each in self.groups)

    @property
    def repeated(self) -> int:
        return sum(each.repeated for each in self.groups)

    @property
    def out_of_order(self) -> int:
        return sum(each.out_of_order for each in self.groups)

    @property
    def longest_producer_pause_seconds(self) -> float:
        return max((each.longest_pause_seconds for each in self.producers), default=0.0)

    @property
    def longest_group_pause_seconds(self) -> float:
        return max((each.longest_pause_seconds for each in self.groups), default=0.0)


def judge(ledger: ServiceLedger) -> Verdict:
    """Judges everything that was noted; every group that is to get something is judged, also a silent one."""
    findings: list[str] = []
    by_producer: defaultdict[str, list[Acknowledged]] = defaultdict(list)
    for acknowledgement in ledger.acknowledged:
        by_producer[acknowledgement.record.producer].append(acknowledgement)
    by_group: defaultdict[str, list[Processed]] = defaultdict(list, {group: [] for group in ledger.expected})
    for each in ledger.processed:
        by_group[each.group].append(each)
    return Verdict(
        producers=tuple(_judge_producer(name, by_producer[name]) for name in sorted(by_producer)),
        groups=tuple(_judge_group(name, _wanted(ledger, name), by_group[name], findings) for name in sorted(by_group)),
        findings=tuple(findings),
    )


def _judge_producer(name: str, acknowledged: Sequence[Acknowledged]) -> ProducerVerdict:
    times = sorted(each.at_ns for each in acknowledged)
    return ProducerVerdict(
        name=name,
        acknowledged=len({each.record for each in acknowledged}),
        by_side=Counter(each.place.side for each in acknowledged),
        longest_pause_seconds=max((after - before for before, after in pairwise(times)), default=0) / _NS,
    )


def _wanted(ledger: ServiceLedger, group: str) -> dict[Identity, Acknowledged]:
    """The acknowledged records that a group is to get."""
    topics = ledger.expected.get(group, frozenset())
    return {each.record: each for each in ledger.acknowledged if each.place.topic in topics}


def _judge_group(
    group: str, wanted: Mapping[Identity, Acknowledged], processed: Iterable[Processed], findings: list[str]
) -> GroupVerdict:
    firsts: dict[Identity, Processed] = {}
    newest: dict[tuple[str, str, str], tuple[int, Place]] = {}
    wrongs: dict[str, list[str]] = {"lost": [], "repeated": [], "out of order": []}
    for each in sorted(processed, key=lambda each: each.at_ns):
        record = each.record
        if (first := firsts.setdefault(record, each)) is not each:
            again = f"{record}: at {first.place} by {first.member}, and again at {each.place} by {each.member}"
            wrongs["repeated"].append(again)
            continue
        line = (each.place.topic, record.producer, record.key)
        number, place = newest.get(line, (-1, each.place))
        if record.number < number:
            wrongs["out of order"].append(f"{record}: at {each.place}, after record {number} at {place}")
        else:
            newest[line] = record.number, each.place
    for record, acknowledgement in wanted.items():
        if record not in firsts:
            place = acknowledgement.place
            unplaced = "" if place.offset is not None else " without an offset"  # the client took it for written
            wrongs["lost"].append(f"{record}: acknowledged{unplaced} at {place}, never processed")
    for kind, found in wrongs.items():
        findings += [f"group {group}: {kind}: {each}" for each in found[:_SHOWN_OF_A_KIND]]
    times = [(each.at_ns, wanted[record].at_ns if record in wanted else None) for record, each in firsts.items()]
    return GroupVerdict(
        group=group,
        expected=len(wanted),
        processed=len(firsts),
        by_side=Counter(each.place.side for each in firsts.values()),
        lost=len(wrongs["lost"]),
        repeated=len(wrongs["repeated"]),
        out_of_order=len(wrongs["out of order"]),
        unacknowledged=len(firsts.keys() - wanted.keys()),
        longest_pause_seconds=_longest_pause_ns(times) / _NS,
    )


def _longest_pause_ns(times: Sequence[tuple[int, int | None]]) -> int:
    """The longest pause of (when it was processed, when it was acknowledged, if it was), in the order of processing."""
    longest, waiting_since = 0.0, math.inf
    for (before, _), (after, acknowledged) in reversed(list(pairwise(times))):
        if acknowledged is not None:
            waiting_since = min(waiting_since, acknowledged)
        longest = max(longest, after - max(before, waiting_since))
    return int(longest)
