"""The cutover book keeps where every wave stands, in the store: each decision with its journal entry, in one step.

Rule: what returned is on the disk, and only then is an effect carried out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from kmigrate.kafka_types import Offset, Partition, TopicName, TopicPartition
from kmigrate.offsets.offset_map import Ends
from kmigrate.schemes.cutover import Cutover
from kmigrate.state.store import Store

CUTOVER = "cutover"
"""The kind of the journal's entries."""
LATE = "late-appended"
WAVES = "cutover.waves"
_OF_WAVE = "cutover.wave."
_ATTESTED = "cutover.attested."
ENDED = "cutover.ended"
PREPARED = "cutover.prepared"

Attested = frozenset[tuple[str, str]]
Prepared = Mapping[str, Mapping[TopicPartition, Offset]]
"""Group → what was committed for it on the target, and read back there."""


class CutoverBook:
    """The cutovers of one migration. Many threads may use it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def waves(self) -> tuple[str, ...]:
        """The names of the waves whose cutover has begun, in the order in which they did."""
        return tuple(json.loads(self._store.get(WAVES) or "[]"))

    def load(self, wave: str) -> Cutover | None:
        """Where a wave stands; None if its cutover has not begun."""
        text = self._store.get(_OF_WAVE + wave)
        return None if text is None else Cutover.from_value(json.loads(text))

    def save(self, cutover: Cutover, entry: str) -> None:
        """Keeps a decision, with what the journal says of it."""
        wave = cutover.wave.name
        waves = self.waves()
        effect = cutover.next_effect
        self._store.decide(
            CUTOVER,
            {
                "wave": wave,
                "number": cutover.number,
                "entry": entry,
                "way": cutover.way.value,
                "step": cutover.at.step.name,
                "phase": cutover.phase.value,
                "frozen": cutover.is_frozen,
                "effect": None if effect is None else str(effect),
                "outcome": None if cutover.outcome is None else cutover.outcome.value,
            },
            facts={
                _OF_WAVE + wave: json.dumps(cutover.to_value(), ensure_ascii=False),
                WAVES: json.dumps([*waves, *([] if wave in waves else [wave])], ensure_ascii=False),
            },
        )

    def attested(self, wave: str) -> Attested:
        """(name of the step, name of the move): what the operator said is done."""
        return frozenset((step, move) for step, move in json.loads(self._store.get(_ATTESTED + wave) or "[]"))

    def withdraw_attestation(self, wave: str, step: str, move: str) -> None:
        """The step is entered again: what was said of it before counts no more."""
        left = sorted(self.attested(wave) - {(step, move)})
        self._store.decide(
            "attest",
            {"wave": wave, "step": step, "move": move, "withdrawn": True},
            facts={_ATTESTED + wave: json.dumps(left, ensure_ascii=False)},
        )

    def attest(self, wave: str, step: str, move: str, by: str) -> None:
        """Keeps the operator's word that what a step asks for is done."""
        attested = sorted({*self.attested(wave), (step, move)})
        self._store.decide(
            "attest",
            {"wave": wave, "step": step, "move": move, "by": by},
            facts={_ATTESTED + wave: json.dumps(attested, ensure_ascii=False)},
        )

    def ended(self) -> dict[TopicName, dict[TopicPartition, Ends]]:
        """The topics whose copy has ended, and where: offsets of the source and of the target."""
        return {
            TopicName(topic): {
                TopicPartition(TopicName(topic), Partition(number)): Ends(Offset(source), Offset(target))
                for number, source, target in each["ends"]
            }
            for topic, each in self._ended().items()
        }

    def _ended(self) -> dict[str, Any]:
        """Topic → when its copy ended, and where, as it is kept."""
        ended: dict[str, Any] = json.loads(self._store.get(ENDED) or "{}")
        return ended

    def ended_ms(self, topic: TopicName) -> int:
        """When the copy of a topic ended, in milliseconds since the epoch; raises KeyError while it has not."""
        return int(self._ended()[topic]["at"])

    def record_ended(self, ends: Mapping[TopicName, Mapping[TopicPartition, Ends]], at_ms: int) -> None:
        """Keeps where and when the copies of these topics ended; others stay as they are."""
        known = self._ended()
        new: dict[str, object] = {
            topic: {
                "at": at_ms,
                "ends": [[tp.partition, source, target] for tp, (source, target) in sorted(its.items())],
            }
            for topic, its in ends.items()
        }
        self._put_ended({**known, **new}, {"topics": sorted(ends)})

    def forget_ended(self, topics: Iterable[TopicName]) -> None:
        """The copies of these topics go on."""
        gone, known = set(topics), self._ended()
        left = {topic: each for topic, each in known.items() if topic not in gone}
        self._put_ended(left, {"topics": sorted(gone), "resumed": True})

    def _put_ended(self, value: Mapping[str, object], detail: Mapping[str, object]) -> None:
        self._store.decide("copy-ended", detail, facts={ENDED: json.dumps(value, ensure_ascii=False)})

    def record_late(self, wave: str, effect: str, appended: Mapping[TopicPartition, int]) -> None:
        """Journals how many late records of each partition lie on the target, compared, once an effect is done."""
        rows = {str(tp): records for tp, records in sorted(appended.items()) if records}
        self._store.decide(
            LATE, {"wave": wave, "effect": effect, "records": sum(rows.values()), "partitions": rows}, facts={}
        )

    def prepared(self) -> dict[str, dict[TopicPartition, Offset]]:
        """What was committed for groups on the target."""
        return {
            group: {TopicPartition(TopicName(topic), Partition(number)): Offset(at) for topic, number, at in rows}
            for group, rows in json.loads(self._store.get(PREPARED) or "{}").items()
        }

    def record_prepared(self, prepared: Prepared) -> None:
        """Keeps what was committed for these groups, and read back."""
        self._put_prepared({**self.prepared(), **prepared}, sorted(prepared))

    def forget_prepared(self, groups: Iterable[str]) -> None:
        """Nothing is prepared for these groups any more."""
        gone = set(groups)
        self._put_prepared({group: each for group, each in self.prepared().items() if group not in gone}, sorted(gone))

    def _put_prepared(self, prepared: Prepared, groups: list[str]) -> None:
        value = {group: [[*tp, at] for tp, at in sorted(each.items())] for group, each in prepared.items()}
        self._store.decide(
            "groups-prepared", {"groups": groups}, facts={PREPARED: json.dumps(value, ensure_ascii=False)}
        )
