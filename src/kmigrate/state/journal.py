"""The journal and the effects as values, and the hash chain that shows whether they are as they were written.  (pure)

Each entry carries the SHA-256 over the canonical JSON of [hash of the entry before, number, at_ms, kind, detail]; the
first one follows `GENESIS`. The head, number and hash of the last entry, is kept apart, so that an end that was cut off
shows. An effect is a row that changes once, from planned to done: both are entries of their own, written in the same
step, that name the effect and hold what its row must say.

Rule: a chain shows what was changed, removed or added by anybody but kmigrate. It does not keep out who computes it
anew from the changed entry on: against that, note a head elsewhere, and look for it in a later report.

Canonical JSON: keys sorted, no spaces, no escapes but those that JSON demands; UTF-8.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from kmigrate.kafka_types import TopicName

GENESIS = "0" * 64
"""What the first entry follows."""
CHAINED = "chained"
"""The entry that tells what was there before there was a chain: entries, effects, and what these said."""
EFFECTS_PLANNED = "effects-planned"
EFFECT_DONE = "effect-done"
EFFECT_WITHDRAWN = "effect-withdrawn"
"""It has ended, and nothing of it is in force: it was refused, and is no longer wanted."""
EFFECT_ENDS = (EFFECT_DONE, EFFECT_WITHDRAWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """One decision: when it was made, of which kind, what was decided, and the entry's hash."""

    number: int
    at_ms: int
    kind: str
    detail: Mapping[str, object]
    hash: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectEntry:
    """Something that is to be done to the target, decided but perhaps not yet done; `payload` says what.

    `topic` is the topic's name, or that of what else it is done to.
    """

    id: int
    kind: str
    topic: TopicName
    payload: Mapping[str, Any]
    planned_at_ms: int
    done_at_ms: int | None

    @property
    def is_done(self) -> bool:
        return self.done_at_ms is not None


class JournalRow(NamedTuple):
    """An entry as the database has it, whatever somebody made of it."""

    number: int
    at_ms: int | None
    kind: str
    detail: str
    hash: str

    @property
    def entry(self) -> JournalEntry:
        """As it is shown; what cannot be read is told as it stands, under `unreadable`."""
        return JournalEntry(
            number=self.number,
            at_ms=-1 if self.at_ms is None else self.at_ms,
            kind=self.kind,
            detail=read_object(self.detail),
            hash=self.hash,
        )


class EffectRow(NamedTuple):
    """An effect as the database has it."""

    id: int
    kind: str
    topic: str
    payload: str
    planned_at_ms: int | None
    done_at_ms: int | None

    @property
    def entry(self) -> EffectEntry:
        """As it is shown."""
        return EffectEntry(
            id=self.id,
            kind=self.kind,
            topic=TopicName(self.topic),
            payload=read_object(self.payload),
            planned_at_ms=-1 if self.planned_at_ms is None else self.planned_at_ms,
            done_at_ms=self.done_at_ms,
        )


class Head(NamedTuple):
    """Number and hash of the last entry."""

    number: int
    hash: str

    @property
    def text(self) -> str:
        """As it is kept."""
        return f"{self.number} {self.hash}"

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """What `text` made; None if it is gone, or is something else."""
        number, _, found = (text or "").partition(" ")
        return cls(int(number), found) if number.isascii() and number.isdigit() and found else None


NOTHING = Head(0, GENESIS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainState:
    """Whether the journal is as it was written: how many entries there are, the last one's number and hash.

    `broken_at` is the first number that does not follow, and `reason` says why; None: it holds.
    """

    count: int
    number: int
    hash: str
    broken_at: int | None = None
    reason: str = ""

    @property
    def holds(self) -> bool:
        return self.broken_at is None


EMPTY = ChainState(count=0, number=NOTHING.number, hash=NOTHING.hash)


class _Broken(NamedTuple):
    number: int
    reason: str


def canonical(value: object) -> str:
    """Canonical JSON."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def read_object(text: str) -> dict[str, Any]:
    """The object of a JSON text; of anything else what it is, under `unreadable`."""
    try:
        value = json.loads(text)
        if "\\u" in text:
            canonical(value).encode()  # half a surrogate pair is no text
    except (ValueError, TypeError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"unreadable": text}


def link(previous: str, number: int, at_ms: int | None, kind: str, detail: str) -> str:
    """An entry's hash, 64 hexadecimal digits; `detail` is canonical JSON already. A time that is none is null."""
    text = f"[{canonical(previous)},{number},{canonical(at_ms)},{canonical(kind)},{detail}]"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def planned_detail(kind: str, effects: Sequence[EffectRow]) -> dict[str, object]:
    """What is journaled of effects that are planned together: their ids follow each other."""
    return {"kind": kind, "effects": [effects[0].id, effects[-1].id], "sha256": _digest_planned(effects)}


def end_detail(effect: int, kind: str, name: str) -> dict[str, object]:
    """What is journaled of an effect that is done, or was withdrawn."""
    return {"effect": effect, "kind": kind, "name": name}


def chained_detail(entries: int, effects: Sequence[EffectRow]) -> dict[str, object]:
    """What is journaled of what was there before the chain."""
    return {
        "entries": entries,
        "effects": [each.id for each in effects[-1:]],
        "planned": _digest_planned(effects),
        "done": _digest_done(effects),
        "open": [each.id for each in effects if each.done_at_ms is None],
    }


def check_chain(rows: Iterable[JournalRow], head: Head | None, effects: Sequence[EffectRow]) -> ChainState:
    """Whether these are the entries that were written, all of them in their order, and the effects what they say."""
    entries: list[JournalRow] = []
    broken: _Broken | None = None
    count, last = 0, NOTHING
    for count, row in enumerate(rows, start=1):  # noqa: B007  what is left of both after the last one is told
        if broken is None:
            broken = _find_break(last, row)
            if broken is None:
                entries.append(row)
        last = Head(row.number, row.hash)
    broken = broken or _find_end(last, head)
    altered = _find_altered_effect(entries, effects, is_whole=broken is None)
    first = min(filter(None, (broken, altered)), key=lambda each: each.number, default=None)
    return ChainState(
        count=count,
        number=last.number,
        hash=last.hash,
        broken_at=None if first is None else first.number,
        reason="" if first is None else first.reason,
    )


def _find_break(last: Head, row: JournalRow) -> _Broken | None:
    if row.number <= last.number:
        return _Broken(row.number, f"entry {row.number} was added: there is none below 1")
    if row.number != last.number + 1:
        missing = _numbers(last.number + 1, row.number - 1)
        return _Broken(last.number + 1, f"{missing} missing, {row.number} comes next")
    if row.hash == link(last.hash, row.number, row.at_ms, row.kind, row.detail):
        return None
    return _Broken(row.number, f"entry {row.number} is not what was written, or does not follow the one before")


def _find_end(last: Head, head: Head | None) -> _Broken | None:
    if head is None:
        return _Broken(last.number + 1, "the head of the chain is gone, so nobody can tell whether its end was cut off")
    if last.number < head.number:
        return _Broken(last.number + 1, f"{_numbers(last.number + 1, head.number)} missing: the end was cut off")
    if last.number > head.number:
        return _Broken(head.number + 1, f"the journal ended with entry {head.number}; what follows was added")
    if last.hash != head.hash:
        return _Broken(last.number, f"entry {last.number} is not the one that was written last")
    return None


def _numbers(first: int, last: int) -> str:
    return f"entry {first} is" if first == last else f"entries {first} to {last} are"


# -- effects ----------------------------------------------------------------------------------------------------------


def _find_altered_effect(
    entries: Iterable[JournalRow], effects: Sequence[EffectRow], *, is_whole: bool
) -> _Broken | None:
    """The first entry that says something else of an effect than the effect's row does.

    The entries are those that hold. Effects of which none of them tells count only where the journal `is_whole`.
    """
    there = {each.id: each for each in effects}
    told: set[int] = set()
    done: set[int] = set()
    last = 0
    for entry in entries:
        last = entry.number
        detail = read_object(entry.detail)
        objection = None
        if entry.kind == CHAINED:
            before = [each for each in effects if each.id <= max(detail["effects"], default=0)]
            told |= {each.id for each in before}
            done |= told - set(detail["open"])
            objection = _object_to_chained(detail, before)
        elif entry.kind == EFFECTS_PLANNED:
            first, end = detail["effects"]
            told |= set(range(first, end + 1))
            if (
                _digest_planned(there[number] for number in range(first, end + 1) if number in there)
                != detail["sha256"]
            ):
                objection = f"effects {first} to {end} are not what was planned, or are gone"
        elif entry.kind in EFFECT_ENDS:
            number = detail["effect"]
            done.add(number)
            if number in there and there[number].done_at_ms != entry.at_ms:
                objection = f"effect {number} ended then, and does not say so any more"
        if objection is not None:
            return _Broken(last, f"entry {last}: {objection}")
    if is_whole:
        for each in effects:
            if each.id not in told:
                return _Broken(last + 1, f"effect {each.id} was planned by nobody: no entry tells of it")
            if each.done_at_ms is not None and each.id not in done:
                return _Broken(last + 1, f"effect {each.id} is said to be done, and no entry tells of that")
    return None


def _object_to_chained(detail: Mapping[str, Any], before: Iterable[EffectRow]) -> str | None:
    still_open = set(detail["open"])
    then = [each._replace(done_at_ms=None) if each.id in still_open else each for each in before]
    if (_digest_planned(then), _digest_done(then)) == (detail["planned"], detail["done"]):
        return None
    return "the effects up to there are not what they were, or are gone"


def _digest_planned(effects: Iterable[EffectRow]) -> str:
    return _digest([each.id, each.kind, each.topic, each.payload, each.planned_at_ms] for each in effects)


def _digest_done(effects: Iterable[EffectRow]) -> str:
    return _digest([each.id, each.done_at_ms] for each in effects if each.done_at_ms is not None)


def _digest(parts: Iterator[list[object]]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(json.dumps(part, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
    return found.hexdigest()
