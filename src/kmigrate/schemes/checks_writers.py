"""Checks of writers: who stopped, who still writes, who came too early or too late.

Rule: as in `gates.py`. Kafka names producers only where they are idempotent or transactional: what is said is what was
seen, growth per partition, and never more.
"""

from __future__ import annotations

from collections.abc import Iterator

from kmigrate.kafka_types import TopicPartition
from kmigrate.schemes.cutover import Way
from kmigrate.schemes.effects import EffectKind
from kmigrate.schemes.facts import GROWS_SECONDS
from kmigrate.schemes.gates import WORD, Answer, View, every, some
from kmigrate.words import count_of


def check_no_early_writers(view: View) -> Answer:
    return every(
        ((place, each.application_records) for place, each in view.partitions()),
        lambda records: records == 0,
        of="partition",
        good="{all}: no application has written there on the target",
        bad=lambda records: f"{count_of(records, 'record')} on the target not ours",
        way="stop the writer on the target, then `abort`: the stop of that partition lists the records",
    )


def _still(view: View, since: Iterator[tuple[object, float | None]], seconds: float, side: str) -> Answer:
    return every(
        since,
        lambda at: view.now - at >= seconds,
        of="partition",
        good=f"{{all}}: the {side} has stood still for {seconds:g} s",
        bad=lambda at: f"still for {max(0.0, view.now - at):.0f} of {seconds:g} s",
        way=f"stop what writes there; clients go on retrying on the {side} for minutes",
    )


def check_source_still(view: View) -> Answer:
    """On the way back only topics that had left the source count: what is still to arrive there comes first."""
    topics = set(view.move.topics)
    if view.cutover.way is Way.BACK:
        topics &= view.cutover.promoted_topics
    is_fenced = all(view.cutover.is_in_force(EffectKind.PUT_UP_FENCE, topic) for topic in topics)
    seconds = view.limits.fenced_still_seconds if is_fenced else view.limits.still_seconds
    since = ((place, each.source_still_since) for place, each in view.partitions() if _topic(place) in topics)
    return _still(view, since, seconds, "source")


def check_writers_stopped(view: View) -> Answer:
    if view.needs_word:
        return False, f"{view.move.name} is not known to have stopped", WORD
    if view.cutover.wave.is_fenced:
        up = view.facts.fenced_on_source
        missing = sorted(view.move.topics if up is None else set(view.move.topics) - up)
        if missing:
            return False, f"no fence is seen on the source at {some(list(missing))}", "wait; or `abort`"
    open_ones = [str(place) for place, each in view.partitions() if not each.is_settled]
    if open_ones:
        way = "end open transactions, and see that every replica is in sync on the source"
        return False, f"log end, high watermark and last stable offset are not known to agree: {some(open_ones)}", way
    return check_source_still(view)


def check_no_stragglers(view: View) -> Answer:
    found = view.facts.stragglers
    if found is None:
        return False, "whether partitions still grow on the source is not known yet", "wait"
    there = [str(each) for each in found if each.partition.topic in view.move.topics]
    if there:
        told = f"grew on the source in the last {GROWS_SECONDS:g} s: {some(there)}"
        return False, told, "wait as long; if it goes on growing, restart that producer with the target's address"
    return True, f"no partition grew on the source in the last {GROWS_SECONDS:g} s", ""


def check_target_moving(view: View) -> Answer:
    if view.is_attested:
        return True, "the operator attests that the writers are on the target", ""
    moving: dict[object, int | None] = {}
    for place, each in view.partitions():
        if each.application_records is not None:
            moving[_topic(place)] = max(moving.get(_topic(place)) or 0, each.application_records)
        else:
            moving.setdefault(_topic(place), None)
    return every(
        moving.items(),
        lambda records: records > 0,
        of="topic",
        good="{all}: applications write on the target",
        bad=lambda _: "no record of an application on the target yet",
        way="start the writers on the target; attest it for a topic that nobody writes to now",
    )


def check_no_late_records(view: View) -> Answer:
    return every(
        ((place, each.late_records) for place, each in view.partitions()),
        lambda records: records == 0,
        of="partition",
        good="{all}: no record came late to the source",
        bad=lambda records: f"{count_of(records, 'late record')} on the source",
        way="`kmigrate cutover next -f FILE --late append` appends each of them once, `--late list` lists them",
    )


def check_target_stopped(view: View) -> Answer:
    promoted = view.cutover.promoted_topics
    seen = [(place, each) for place, each in view.partitions() if _topic(place) in promoted]
    unsettled = [str(place) for place, each in seen if not each.is_target_settled]
    if unsettled:
        way = "end open transactions, and see that every replica is in sync on the target"
        return False, f"log end, high watermark and last stable offset are not known to agree: {some(unsettled)}", way
    seconds = view.limits.still_seconds
    if view.cutover.wave.is_fenced:
        up = view.facts.fenced_on_target
        missing = sorted(promoted if up is None else promoted - up)
        if missing:
            return False, f"no fence is seen on the target at {some(list(missing))}", "wait; or `abort`"
        seconds = view.limits.fenced_still_seconds
    return _still(view, ((place, each.target_still_since) for place, each in seen), seconds, "target")


def _topic(place: object) -> object:
    return place.topic if isinstance(place, TopicPartition) else place
