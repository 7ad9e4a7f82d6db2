"""In which order the applications of a wave move, and which of them move as one.

Rule: applications that write to the same topic are one move, and so are those that feed each other in a circle.
`producers-first` moves what writes a topic before what reads it, `consumers-first` what reads it before what writes it;
within that, the order of names. Topics that no declared application writes belong to *the producers* of the wave; a
group that no declared application reads as is a reader of its own, of every topic unless it is known which it reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kmigrate.kafka_types import TopicName
from kmigrate.manifest.model import Scheme
from kmigrate.manifest.waves import PRODUCERS as PRODUCERS
from kmigrate.schemes.wave import WHOLE_WAVE, History, Move, MoveKind, Wave


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """Something that reads topics as groups, and writes topics.

    `has_own_checkpoints`: it reads without a group, from positions that it keeps itself.
    """

    name: str
    groups: tuple[str, ...] = ()
    reads: tuple[TopicName, ...] = ()
    writes: tuple[TopicName, ...] = ()
    has_own_checkpoints: bool = False


@dataclass(slots=True, eq=False)
class _Unit:
    """Applications that move as one, while it is being found out which."""

    names: list[str] = field(default_factory=list)
    groups: set[str] = field(default_factory=set)
    reads: set[TopicName] = field(default_factory=set)
    writes: set[TopicName] = field(default_factory=set)
    is_attested: bool = False

    def take(self, other: _Unit) -> None:
        self.names += other.names
        self.groups |= other.groups
        self.reads |= other.reads
        self.writes |= other.writes
        self.is_attested |= other.is_attested


def moves_of(
    scheme: Scheme,
    topics: Sequence[TopicName],
    groups: Mapping[str, Sequence[TopicName]],
    applications: Sequence[Application] = (),
) -> tuple[Move, ...]:
    """The moves of a wave, in their order. `groups`: each group and what it is known to read, nothing if not known."""
    inside, known = set(topics), set(groups)
    units = [_unit(each, inside, known) for each in applications]
    written = {topic for unit in units for topic in unit.writes}
    named = {group for unit in units for group in unit.groups}
    rest = [topic for topic in topics if topic not in written]
    if rest:
        units.append(_Unit(names=[PRODUCERS], writes=set(rest)))
    units = _joined(units)  # before other readers are there: these write nothing, and there may be very many
    taken = {name for unit in units for name in unit.names} | {WHOLE_WAVE}
    for group, reads in groups.items():
        if group not in named:
            name = f"group {group}" if group in taken else group  # steps find their move by its name
            units.append(_Unit(names=[name], groups={group}, reads=inside & set(reads) or set(inside)))
    units = [unit for unit in units if unit.writes or unit.groups or unit.is_attested]
    ordered = _upstream_first(units)
    if scheme is Scheme.CONSUMERS_FIRST:
        ordered.reverse()
    return tuple(
        Move(
            name=" + ".join(sorted(unit.names)),
            topics=tuple(sorted(unit.writes)),
            groups=tuple(sorted(unit.groups)),
            is_attested=unit.is_attested,
        )
        for unit in ordered
    )


def _unit(application: Application, topics: set[TopicName], groups: set[str]) -> _Unit:
    return _Unit(
        names=[application.name],
        groups=set(application.groups) & groups,
        reads=set(application.reads) & topics,
        writes=set(application.writes) & topics,
        is_attested=application.has_own_checkpoints,
    )


def _joined(units: list[_Unit]) -> list[_Unit]:
    """Units that share a written topic or a group, or depend on each other, as one each."""
    joined = list(units)
    while pair := _first_pair(joined):
        first, second = pair
        first.take(second)
        joined.remove(second)
    return joined


def _first_pair(units: list[_Unit]) -> tuple[_Unit, _Unit] | None:
    reached = {id(unit): _downstream(unit, units) for unit in units}
    for index, unit in enumerate(units):
        for other in units[index + 1 :]:
            is_circle = id(other) in reached[id(unit)] and id(unit) in reached[id(other)]
            if is_circle or unit.writes & other.writes or unit.groups & other.groups:
                return unit, other
    return None


def _downstream(unit: _Unit, units: list[_Unit]) -> set[int]:
    """The ids of all that read, at first or second hand, what a unit writes."""
    found: set[int] = set()
    open_units = [unit]
    while open_units:
        writes = open_units.pop().writes
        for other in units:
            if id(other) not in found and other.reads & writes:
                found.add(id(other))
                open_units.append(other)
    return found


def _upstream_first(units: list[_Unit]) -> list[_Unit]:
    left = sorted(units, key=lambda unit: sorted(unit.names))
    ordered: list[_Unit] = []
    while left:
        writers = [unit for unit in left if unit.writes]
        free = next(
            unit for unit in left if not any(w is not unit and not w.writes.isdisjoint(unit.reads) for w in writers)
        )
        left.remove(free)
        ordered.append(free)
    return ordered


def wave_problems(wave: Wave) -> Iterator[str]:
    """Why a wave cannot be led by its scheme; each with the way to mend it."""
    if wave.scheme is Scheme.PRODUCERS_LATER:
        if wave.history is History.STOPPED:
            yield (
                f"wave {wave.name}: producers-later has its readers on the target before it is known where the source "
                "ends; choose the history none or rolling, or producers-first"
            )
        for move in wave.moves:
            if move.kind is MoveKind.APPLICATION:
                yield (
                    f"wave {wave.name}: {move.name} reads and writes, and would run on both clusters at once; choose "
                    "producers-first or consumers-first for it"
                )
    topics = [str(topic) for move in wave.moves for topic in move.topics]
    groups = [group for move in wave.moves for group in move.groups]
    for kind, wanted, moved in (("topic", set(map(str, wave.topics)), topics), ("group", set(wave.groups), groups)):
        for name in sorted(wanted ^ set(moved)):
            yield f"wave {wave.name}: {kind} {name} is in the wave or in a move of it, but not in both"
        for name in sorted({name for name in moved if moved.count(name) > 1}):
            yield f"wave {wave.name}: {kind} {name} is in more than one move"
