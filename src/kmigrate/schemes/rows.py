"""The steps that schemes are made of; `tables.py` puts them in order.

Rule: as in `steps.py`. A step that differs between schemes is the same row with some of its fields replaced.
"""

from __future__ import annotations

from dataclasses import replace

from kmigrate.schemes.effects import EffectKind
from kmigrate.schemes.steps import Actor, Gate, Step, Writers

_G, _E = Gate, EffectKind
_OPERATOR, _KMIGRATE = Actor.OPERATOR, Actor.KMIGRATE
ALL_READY = (_G.LEASE, _G.NO_STOPS, _G.TOPICS_READY, _G.NO_EARLY_WRITERS)
ALL_VERIFIED = (_G.IN_SYNC, _G.VERIFIED)
ONLY_ROLLBACK = "the first record that an application writes to the target: `abort` ends there, and `rollback` begins"
COPY_BACK_ENDS = "the reverse copy ends: nothing brings the service back to the source without a loss"
NONE_PLANNED = {
    ONLY_ROLLBACK: "the first record that an application writes to the target: `abort` ends there, nothing leads back",
    COPY_BACK_ENDS: "the cutover ends: fences and holds that are still there are lifted",
}
"""The same of a wave without a way back."""
NO_WAY_BACK = "none: records of both clusters mix on the target"
NO_SINGLE_WRITER = "while writers are restarted both clusters take writes of {topics}"

# -- writers that stop: freeze, copy the rest, verify, promote

STOP_WRITERS = Step(
    name="stop-writers",
    title="stop what writes {topics}",
    actor=_OPERATOR,
    todo="make ready to stop what writes {topics}; then stop it on the source (a fence does it for you), and go on",
    writers=Writers.SOURCE,
    gates=(_G.LEASE, _G.NO_STOPS, *ALL_VERIFIED, _G.NO_EARLY_WRITERS),
    effects=(_E.PUT_UP_FENCE,),
    asks_ahead=True,
)
FREEZE = Step(
    name="freeze",
    title="wait until {topics} stand still on the source",
    actor=_KMIGRATE,
    todo="leave what writes {topics} stopped; kmigrate watches the log ends, then copies and verifies the rest",
    writers=Writers.NOBODY,
    gates=(_G.LEASE, _G.NO_STOPS, _G.WRITERS_STOPPED, _G.NO_EARLY_WRITERS),
    effects=(_E.FREEZE, _E.COPY_TAIL, _E.VERIFY_TAIL),
    is_frozen=True,
)
PROMOTE = Step(
    name="promote",
    title="hand {topics} over on the target",
    actor=_KMIGRATE,
    todo="leave what writes {topics} stopped; kmigrate gives the target's topics their intended settings",
    writers=Writers.NOBODY,
    gates=(
        *(_G.LEASE, _G.NO_STOPS, _G.FROZEN, _G.TAIL_COPIED, _G.TAIL_VERIFIED),
        *(_G.NO_EARLY_WRITERS, _G.PREPARED, _G.APPROVED),
    ),
    effects=(_E.END_COPY, _E.LIFT_HOLDS, _E.PROMOTE),
    is_frozen=True,
    is_irreversible=True,
    cannot_be_undone=(ONLY_ROLLBACK, "what the target's own retention deletes from then on"),
)
START_WRITERS = Step(
    name="start-writers",
    title="start what writes {topics}, on the target",
    actor=_OPERATOR,
    todo="start what writes {topics} with the target's address",
    writers=Writers.TARGET,
    gates=(_G.LEASE, _G.TARGET_MOVING, _G.NO_STRAGGLERS),
    undo="abort until the first record on the target, then rollback",
)
CLEAN_WRITERS = (STOP_WRITERS, FREEZE, PROMOTE, START_WRITERS)

STOP_APPLICATION = replace(
    STOP_WRITERS,
    name="stop-application",
    title="stop {name}, which reads {groups} and writes {topics}",
    todo="stop {name} on the source: it reads as {groups} and writes {topics}; then go on",
)
FREEZE_APPLICATION = replace(
    FREEZE,
    gates=(*FREEZE.gates, _G.READERS_STOPPED, _G.NO_EARLY_READERS, _G.COMMITS_COPIED),
    effects=(*FREEZE.effects, _E.CAPTURE_COMMITS),
)
START_APPLICATION = replace(
    START_WRITERS,
    name="start-application",
    title="start {name} on the target",
    todo="start {name} with the target's address: it reads as {groups} and writes {topics}",
    gates=(*START_WRITERS.gates, _G.READERS_PRESENT, _G.GONE_FROM_SOURCE, _G.POSITIONS_HOLD),
)
DRAINED_FREEZE = replace(
    FREEZE,
    gates=(*FREEZE.gates, _G.READERS_STOPPED, _G.NO_EARLY_READERS, _G.DRAINED),
    effects=(*FREEZE.effects, _E.PREPARE_GROUPS),
)

# -- writers that are restarted one after the other

MOVE_WRITERS = Step(
    name="move-writers",
    title="restart what writes {topics}, on the target",
    actor=_OPERATOR,
    todo="restart what writes {topics} with the target's address, one after the other",
    writers=Writers.BOTH,
    gates=(_G.LEASE, _G.SOURCE_STILL, _G.NO_STRAGGLERS, _G.TARGET_MOVING),
    effects=(_E.PUT_UP_FENCE,),
    undo="abort until the first record on the target, then rollback",
)

# -- readers

DRAIN = Step(
    name="drain",
    title="{groups} read the source to its end",
    actor=_KMIGRATE,
    todo="leave {groups} running on the source until their lag is 0; start none of them on the target",
    writers=Writers.SOURCE,
    gates=(_G.LEASE, _G.DRAINED, _G.NO_EARLY_READERS),
    effects=(_E.PREPARE_GROUPS,),
    undo="rollback",
)
MOVE_READERS = Step(
    name="move-readers",
    title="restart {groups} on the target",
    actor=_OPERATOR,
    todo="stop {groups} on the source, then start them with the target's address",
    writers=Writers.TARGET,
    gates=(
        *(_G.LEASE, _G.READERS_PRESENT, _G.GONE_FROM_SOURCE, _G.PREPARED),
        *(_G.POSITIONS_HOLD, _G.LAG_FALLING),
    ),
    undo="rollback",
)
STOP_READERS = Step(
    name="stop-readers",
    title="stop {groups} on the source",
    actor=_OPERATOR,
    todo="stop every member of {groups} on the source, and start none on the target yet",
    writers=Writers.SOURCE,
    gates=(_G.LEASE, _G.NO_STOPS, _G.READERS_STOPPED, _G.NO_EARLY_READERS, _G.COMMITS_COPIED),
    effects=(_E.CAPTURE_COMMITS,),
)
START_READERS = Step(
    name="start-readers",
    title="start {groups} on the target",
    actor=_OPERATOR,
    todo="start {groups} with the target's address",
    writers=Writers.SOURCE,
    gates=(_G.LEASE, _G.NO_STOPS, _G.PREPARED, _G.READERS_PRESENT, _G.GONE_FROM_SOURCE, _G.POSITIONS_HOLD),
)

# -- where schemes begin and end

REPLICATE = Step(
    name="replicate",
    title="both clusters agree",
    actor=_KMIGRATE,
    todo="wait until everything is copied and verified",
    writers=Writers.SOURCE,
    gates=(*ALL_READY, *ALL_VERIFIED, _G.RATES_AGREE, _G.NO_EARLY_READERS),
)
READY = Step(
    name="ready",
    title="the target's topics are ready",
    actor=_KMIGRATE,
    todo="wait until the topics are on the target; then decide that their applications may begin to write there",
    writers=Writers.SOURCE,
    gates=(*ALL_READY, _G.NO_EARLY_READERS, _G.APPROVED),
    effects=(_E.END_GROUP_SYNC, _E.END_COPY, _E.LIFT_HOLDS, _E.PROMOTE),
    is_irreversible=True,
    cannot_be_undone=(
        ONLY_ROLLBACK,
        NO_SINGLE_WRITER,
        "what the source gets from now on is not copied: its groups read it there",
    ),
)
READY_WITH_COPY = replace(READY, gates=(*READY.gates[:-1], *ALL_VERIFIED, _G.APPROVED))
WATCH = Step(
    name="watch",
    title="everything is on the target",
    actor=_OPERATOR,
    todo="watch the service; `finish` ends the cutover, and the way back if there is one",
    writers=Writers.TARGET,
    gates=(_G.LEASE, _G.SOURCE_STILL, _G.NO_LATE_RECORDS, _G.GONE_FROM_SOURCE, _G.APPROVED),
    effects=(_E.END_REVERSE_COPY, _E.LIFT_FENCE, _E.LIFT_HOLDS),
    is_irreversible=True,
    is_last=True,
    undo="rollback",
    cannot_be_undone=(COPY_BACK_ENDS,),
)
ARM = Step(
    name="arm",
    title="the way back is made ready",
    actor=_KMIGRATE,
    todo="wait until no group is active on the source; then what the target gets is copied there",
    writers=Writers.TARGET,
    gates=(_G.LEASE, _G.GONE_FROM_SOURCE),
    effects=(_E.BEGIN_REVERSE_COPY,),
    undo="rollback",
)
CLOSING = (ARM, WATCH)
