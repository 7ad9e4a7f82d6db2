"""Checks of the copy: in sync, verified, frozen where it was frozen, and the same for the way back.

Rule: as in `gates.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

from kmigrate.kafka_types import Offset
from kmigrate.schemes.effects import EffectKind
from kmigrate.schemes.gates import NOTHING_SEEN, STATUS, Answer, View, every, some
from kmigrate.words import count_of


def check_no_stops(view: View) -> Answer:
    stops = ((place, each.late_stop or each.stop) for place, each in view.partitions())
    return every(
        stops,
        lambda stop: not stop,
        of="partition",
        good="{all}, none stopped",
        bad=lambda stop: f"stopped as {stop}",
        way="`kmigrate status -f FILE` lists the choices of every stop; or `abort`",
    )


def check_topics_ready(view: View) -> Answer:
    holds = view.facts.holds
    missing = sorted(view.move.topics if holds is None else set(view.move.topics) - holds)
    if not missing:
        return True, f"{count_of(len(view.move.topics), 'topic')} on the target, with the settings for copying", ""
    told = "not known yet" if holds is None else "not on the target with the settings for copying"
    return False, f"{told}: {some(list(missing))}", "`kmigrate run` creates them; " + STATUS


def check_in_sync(view: View) -> Answer:
    return every(
        ((place, each.is_in_sync) for place, each in view.partitions()),
        bool,
        of="partition",
        good="{all} in sync",
        bad=lambda _: "not in sync",
        way=f"wait; {STATUS}",
    )


def check_verified(view: View) -> Answer:
    tail = view.limits.tail_offsets
    ends = (
        (place, None if each.verified is None or each.copied is None else (each.verified, each.copied))
        for place, each in view.partitions()
    )
    return every(
        ends,
        lambda pair: pair[1] - pair[0] <= tail,
        of="partition",
        good=f"{{all}} verified, to within {tail:,} offsets of what is copied",
        bad=lambda pair: f"verified to offset {pair[0]:,} of {pair[1]:,}",
        way="`kmigrate verify -f FILE --mode records`",
    )


def check_rates_agree(view: View) -> Answer:
    agree = view.facts.do_rates_agree
    if agree:
        return True, "both sides grew by the same over the last minute", ""
    told = "how fast both sides grow is not known yet" if agree is None else "the sides do not grow by the same"
    return False, told, "wait for a moment; `kmigrate message rate -f FILE` and `message diff` show where they differ"


def check_all_copied(view: View) -> Answer:
    behind = (
        (place, None if each.copied is None or each.source_end is None else each.source_end - each.copied)
        for place, each in view.partitions()
    )
    return every(
        behind,
        lambda records: records <= 0,
        of="partition",
        good="{all}: all that the source holds is on the target",
        bad=lambda records: f"{count_of(records, 'offset')} not copied",
        way=f"wait; {STATUS}",
    )


def check_frozen(view: View) -> Answer:
    return every(
        _against_ends(view, EffectKind.FREEZE, "source_end"),
        lambda pair: pair[0] == pair[1],
        of="partition",
        good="{all}: the source ends where it was frozen",
        bad=lambda pair: f"ends at {pair[0]:,}, was frozen at {pair[1]:,}: somebody still writes",
        way="it is taken back by itself; find the writer",
    )


def check_tail_copied(view: View) -> Answer:
    return _reached(view, EffectKind.FREEZE, "copied", "copied")


def check_tail_verified(view: View) -> Answer:
    return _reached(view, EffectKind.FREEZE, "verified", "verified")


def check_target_frozen(view: View) -> Answer:
    return every(
        _against_ends(view, EffectKind.FREEZE_TARGET, "target_end"),
        lambda pair: pair[0] == pair[1],
        of="partition",
        good="{all}: the target ends where it was frozen",
        bad=lambda pair: f"ends at {pair[0]:,}, was frozen at {pair[1]:,}: somebody still writes",
        way="it is taken back by itself; find the writer",
    )


def check_copied_back(view: View) -> Answer:
    return _reached(view, EffectKind.FREEZE_TARGET, "copied_back", "copied back")


def check_verified_back(view: View) -> Answer:
    return _reached(view, EffectKind.FREEZE_TARGET, "verified_back", "verified on the source")


def _reached(view: View, kind: EffectKind, name: str, done: str) -> Answer:
    return every(
        _against_ends(view, kind, name),
        lambda pair: pair[0] >= pair[1],
        of="partition",
        good=f"{{all}} {done} to the end",
        bad=lambda pair: f"{done} to offset {pair[0]:,} of {pair[1]:,}",
        way=f"wait; {STATUS}",
    )


def _against_ends(view: View, kind: EffectKind, name: str) -> Iterator[tuple[object, tuple[Offset, Offset] | None]]:
    """A fact of every partition beside the end that an effect recorded for it; None if either is not known.

    On the way back only topics that had left the source have an end on the target that counts.
    """
    ends = view.cutover.ends_of(kind)
    topics = view.move.topics
    if kind is EffectKind.FREEZE_TARGET:
        topics = tuple(topic for topic in topics if topic in view.cutover.promoted_topics)
    for topic in topics:
        places = [place for place in ends if place.topic == topic]
        if not places:
            yield topic, None
        for place in places:
            seen: Offset | None = getattr(view.facts.partitions.get(place, NOTHING_SEEN), name)
            yield place, None if seen is None else (seen, ends[place])
