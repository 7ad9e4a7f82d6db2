"""The three schemes and the way back, each as one table of steps; a wave's steps are unrolled from it.

Rule: a table is an opening, the steps of each kind of move, and a closing. `producers-first` moves what writes before
what reads it, `consumers-first` the other way round; the wave's moves are already in that order (`order.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache

from kmigrate.manifest.model import Scheme
from kmigrate.schemes.effects import EffectKind
from kmigrate.schemes.rows import (
    ALL_VERIFIED,
    ARM,
    CLEAN_WRITERS,
    CLOSING,
    DRAIN,
    DRAINED_FREEZE,
    FREEZE_APPLICATION,
    MOVE_READERS,
    MOVE_WRITERS,
    NO_SINGLE_WRITER,
    NO_WAY_BACK,
    NONE_PLANNED,
    ONLY_ROLLBACK,
    PROMOTE,
    READY,
    READY_WITH_COPY,
    REPLICATE,
    START_APPLICATION,
    START_READERS,
    STOP_APPLICATION,
    STOP_READERS,
)
from kmigrate.schemes.steps import Actor, Gate, Step, Writers
from kmigrate.schemes.wave import WHOLE_WAVE, Ending, History, Move, MoveKind, Wave

_G, _E = Gate, EffectKind
_OPERATOR, _KMIGRATE = Actor.OPERATOR, Actor.KMIGRATE


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A scheme: how it opens, what it does for each move, how it closes."""

    opening: tuple[Step, ...]
    moves: Mapping[MoveKind, tuple[Step, ...]]
    closing: tuple[Step, ...] = CLOSING

    def steps(self) -> Iterator[Step]:
        """Every step once, in order."""
        yield from self.opening
        for steps in self.moves.values():
            yield from steps
        yield from self.closing


_PRODUCERS_FIRST_ROLLING = Table(
    opening=(READY,),
    moves={
        MoveKind.WRITERS: (MOVE_WRITERS,),
        MoveKind.APPLICATION: (
            DRAIN,
            replace(
                MOVE_WRITERS,
                name="move-application",
                title="restart {name} on the target",
                todo="restart {name} with the target's address: it reads as {groups} and writes {topics}",
                gates=(*MOVE_WRITERS.gates, *MOVE_READERS.gates[1:]),
                undo="rollback",
            ),
        ),
        MoveKind.READERS: (DRAIN, MOVE_READERS),
    },
)
_PRODUCERS_FIRST_STOPPED = Table(
    opening=(replace(REPLICATE, effects=(_E.END_GROUP_SYNC,)),),
    moves={
        MoveKind.WRITERS: CLEAN_WRITERS,
        MoveKind.APPLICATION: (
            replace(DRAIN, effects=()),
            replace(STOP_APPLICATION, gates=(*STOP_APPLICATION.gates, _G.DRAINED)),
            DRAINED_FREEZE,
            PROMOTE,
            START_APPLICATION,
        ),
        MoveKind.READERS: (DRAIN, MOVE_READERS),
    },
)
_PRODUCERS_LATER = Table(
    opening=(
        replace(
            READY,
            effects=(_E.END_GROUP_SYNC, _E.END_COPY, _E.LIFT_HOLDS, _E.PREPARE_GROUPS),
            gates=READY.gates[:-1],
            is_irreversible=False,
            cannot_be_undone=(),
        ),
        Step(
            name="join-readers",
            title="{groups} read from both clusters",
            actor=_OPERATOR,
            todo="start {groups} on the target as well, until every partition there has a member; stop none of the old",
            writers=Writers.SOURCE,
            gates=(
                *(_G.LEASE, _G.PREPARED, _G.READERS_PRESENT, _G.ALL_OWNED, _G.POSITIONS_HOLD),
                *(_G.NO_EARLY_WRITERS, _G.APPROVED),
            ),
            effects=(_E.PROMOTE,),
            is_irreversible=True,
            cannot_be_undone=(ONLY_ROLLBACK, NO_SINGLE_WRITER, "records of both clusters are read in no order"),
        ),
    ),
    moves={MoveKind.WRITERS: (MOVE_WRITERS,), MoveKind.READERS: ()},
    closing=(
        replace(
            DRAIN,
            gates=(_G.LEASE, _G.SOURCE_STILL, _G.DRAINED),
            effects=(),
            writers=Writers.TARGET,
            todo="leave {groups} running on both clusters until their lag on the source is 0",
        ),
        replace(
            MOVE_READERS,
            name="stop-old-readers",
            title="stop {groups} on the source",
            todo="stop every member of {groups} on the source; those on the target go on",
            gates=(_G.LEASE, _G.DRAINED, _G.GONE_FROM_SOURCE, _G.READERS_PRESENT, _G.LAG_FALLING),
        ),
        *CLOSING,
    ),
)
_CONSUMERS_FIRST = Table(
    opening=(REPLICATE,),
    moves={
        MoveKind.READERS: (STOP_READERS, START_READERS),
        MoveKind.APPLICATION: (STOP_APPLICATION, FREEZE_APPLICATION, PROMOTE, START_APPLICATION),
        MoveKind.WRITERS: CLEAN_WRITERS,
    },
)
_OVERLAP_WRITERS = (
    Step(
        name="open",
        title="open {topics} on the target, and append there what the source still gets",
        actor=_KMIGRATE,
        todo="decide that what writes {topics} may be restarted one after the other",
        writers=Writers.SOURCE,
        gates=(_G.LEASE, _G.NO_STOPS, *ALL_VERIFIED, _G.NO_EARLY_WRITERS, _G.APPROVED),
        effects=(*PROMOTE.effects, _E.OPEN_OVERLAP),
        is_irreversible=True,
        cannot_be_undone=(
            "everything: neither `abort` nor `rollback` leads back from here",
            NO_SINGLE_WRITER,
            "records of both clusters mix on the target: their order is given up, and so are equal offsets",
        ),
    ),
    replace(
        MOVE_WRITERS,
        gates=(*MOVE_WRITERS.gates, _G.NO_STOPS, _G.ALL_COPIED),
        effects=(*MOVE_WRITERS.effects, _E.CLOSE_OVERLAP),
        undo=NO_WAY_BACK,
    ),
)
TABLES: Mapping[tuple[Scheme, str], Table] = {
    (Scheme.PRODUCERS_FIRST, History.NONE): _PRODUCERS_FIRST_ROLLING,
    (Scheme.PRODUCERS_FIRST, History.ROLLING): replace(_PRODUCERS_FIRST_ROLLING, opening=(READY_WITH_COPY,)),
    (Scheme.PRODUCERS_FIRST, History.STOPPED): _PRODUCERS_FIRST_STOPPED,
    (Scheme.PRODUCERS_LATER, History.NONE): _PRODUCERS_LATER,
    (Scheme.PRODUCERS_LATER, History.ROLLING): replace(
        _PRODUCERS_LATER,
        opening=(
            replace(_PRODUCERS_LATER.opening[0], gates=(*READY.gates[:-1], *ALL_VERIFIED)),
            *_PRODUCERS_LATER.opening[1:],
        ),
    ),
    (Scheme.CONSUMERS_FIRST, Ending.CLEAN): _CONSUMERS_FIRST,
    (Scheme.CONSUMERS_FIRST, Ending.OVERLAP): replace(
        _CONSUMERS_FIRST, moves={**_CONSUMERS_FIRST.moves, MoveKind.WRITERS: _OVERLAP_WRITERS}
    ),
}
"""(scheme, its history or its ending) → table."""

WAY_BACK = Table(
    opening=(
        Step(
            name="stop-on-target",
            title="stop the applications of the wave on both clusters",
            actor=_OPERATOR,
            todo="stop what writes {topics}, and every member of {groups}, on both clusters; then go on",
            writers=Writers.TARGET,
            gates=(_G.LEASE, _G.READERS_AWAY),
            effects=(_E.PUT_UP_TARGET_FENCE,),
            asks_ahead=True,
            undo="abort: the service goes on where it was",
        ),
        Step(
            name="freeze-back",
            title="wait until {topics} stand still on the target",
            actor=_KMIGRATE,
            todo="leave everything stopped; kmigrate copies and verifies what the source lacks",
            writers=Writers.NOBODY,
            gates=(_G.LEASE, _G.SOURCE_STILL, _G.TARGET_STOPPED, _G.READERS_AWAY),
            effects=(_E.BEGIN_REVERSE_COPY, _E.FREEZE_TARGET, _E.COPY_BACK, _E.VERIFY_BACK),
            is_frozen=True,
            undo="abort: the service goes on where it was",
        ),
        Step(
            name="return",
            title="hand {topics} over on the source",
            actor=_KMIGRATE,
            todo="leave everything stopped; kmigrate commits the groups on the source",
            writers=Writers.NOBODY,
            gates=(
                *(_G.LEASE, _G.READERS_AWAY, _G.TARGET_FROZEN, _G.COPIED_BACK, _G.VERIFIED_BACK),
                _G.APPROVED,
            ),
            effects=(_E.COMMIT_BACK, _E.END_REVERSE_COPY, _E.HAND_BACK, _E.LIFT_FENCE),
            is_frozen=True,
            is_irreversible=True,
            undo="abort: the service goes on where it was",
            cannot_be_undone=("the service is on the source again: the wave begins anew",),
        ),
        Step(
            name="start-on-source",
            title="start the applications of the wave on the source",
            actor=_OPERATOR,
            todo="start what writes {topics}, and {groups}, with the source's address",
            writers=Writers.SOURCE,
            gates=(_G.LEASE, _G.SOURCE_IN_USE),
            effects=(
                *(_E.END_GROUP_SYNC, _E.END_COPY, _E.UNFREEZE_TARGET),
                *(_E.LIFT_TARGET_FENCE, _E.LIFT_HOLDS),
            ),
            is_last=True,
            undo="none: the wave begins anew",
        ),
    ),
    moves={},
    closing=(),
)
"""The same for every scheme: the wave as a whole goes back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A step of one wave: the table's row with its number, from 1 on, and the move that it is for."""

    number: int
    step: Step
    move: Move

    def words(self, template: str) -> str:
        """The step's words with the names of its scope."""
        topics, groups = ", ".join(self.move.topics), ", ".join(self.move.groups)
        name = self.move.name or "the wave"
        return template.format(topics=topics or "no topic", groups=groups or "its readers", name=name)


def table_of(wave: Wave) -> Table:
    """The table that a wave goes by; raises KeyError if there is no such scheme (`order.wave_problems` says why)."""
    variant = wave.ending if wave.scheme is Scheme.CONSUMERS_FIRST else wave.history
    return TABLES[wave.scheme, variant]


def stages_of(wave: Wave) -> tuple[Stage, ...]:
    """The steps of a wave from its beginning to its end."""
    table, whole = table_of(wave), wave.scope(WHOLE_WAVE)
    moved = [(step, move) for move in wave.moves for step in table.moves[move.kind]]
    rows = [*((step, whole) for step in table.opening), *moved, *((step, whole) for step in table.closing)]
    kept = rows if wave.has_way_back else [(_without_way_back(step), move) for step, move in rows if step is not ARM]
    return tuple(Stage(number=number, step=step, move=move) for number, (step, move) in enumerate(kept, 1))


@cache
def _without_way_back(step: Step) -> Step:
    return replace(step, cannot_be_undone=tuple(NONE_PLANNED.get(each, each) for each in step.cannot_be_undone))


def stages_back(wave: Wave) -> tuple[Stage, ...]:
    """The steps of the way back."""
    whole = wave.scope(WHOLE_WAVE)
    return tuple(Stage(number=number, step=step, move=whole) for number, step in enumerate(WAY_BACK.opening, 1))
