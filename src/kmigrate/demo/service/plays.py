"""What an operator does with the applications at each step of the schemes, as one table by the step's name.  (pure)

Rule: a play says where applications are to be, not what was done before: done twice it changes nothing. Where a freeze
follows, writers go on until every other gate is open, so that nobody waits for longer than he must; when such a step is
entered again, as after a freeze that was taken back, they are started where they were.

Reference: schemes/rows.py and schemes/tables.py, whose `todo` this is.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from kmigrate.kafka_types import Side


class Who(enum.Enum):
    """Which applications of the step's scope are meant."""

    WRITERS = "what writes its topics"
    READERS = "the members of its groups"
    ALL = "both"


class Verb(enum.Enum):
    """What is done with them."""

    START = "start"
    STOP = "stop"
    ROLL = "restart one after the other"


class Deed(NamedTuple):
    """One thing that is done. `side` is where; None is on both."""

    verb: Verb
    who: Who
    side: Side | None = None


class Leave(enum.Enum):
    """How the step is left."""

    NEXT = "next"
    FINISH = "finish"
    BY_ITSELF = "by itself"


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """`entered`: done while the step waits for its gates; `opened`: done once all are open, right before it is left."""

    entered: tuple[Deed, ...] = ()
    opened: tuple[Deed, ...] = ()
    leave: Leave = Leave.NEXT


_V, _W = Verb, Who
_SOURCE, _TARGET = Side.SOURCE, Side.TARGET
_WATCHED = Play()
_BY_ITSELF = Play(leave=Leave.BY_ITSELF)

PLAYS: Mapping[str, Play] = {
    "replicate": _WATCHED,
    "ready": _WATCHED,
    "stop-readers": Play(entered=(Deed(_V.STOP, _W.READERS, _SOURCE),)),
    "start-readers": Play(entered=(Deed(_V.START, _W.READERS, _TARGET),)),
    "stop-writers": Play(entered=(Deed(_V.START, _W.WRITERS, _SOURCE),), opened=(Deed(_V.STOP, _W.WRITERS, _SOURCE),)),
    "stop-application": Play(entered=(Deed(_V.START, _W.ALL, _SOURCE),), opened=(Deed(_V.STOP, _W.ALL, _SOURCE),)),
    "freeze": _BY_ITSELF,
    "promote": _BY_ITSELF,
    "start-writers": Play(entered=(Deed(_V.START, _W.WRITERS, _TARGET),)),
    "start-application": Play(entered=(Deed(_V.START, _W.ALL, _TARGET),)),
    "move-writers": Play(entered=(Deed(_V.ROLL, _W.WRITERS, _TARGET),)),
    "move-application": Play(entered=(Deed(_V.ROLL, _W.ALL, _TARGET),)),
    "drain": _WATCHED,
    "move-readers": Play(entered=(Deed(_V.STOP, _W.READERS, _SOURCE), Deed(_V.START, _W.READERS, _TARGET))),
    "join-readers": Play(entered=(Deed(_V.START, _W.READERS, _TARGET),)),
    "stop-old-readers": Play(entered=(Deed(_V.STOP, _W.READERS, _SOURCE),)),
    "open": _WATCHED,
    "arm": Play(entered=(Deed(_V.STOP, _W.READERS, _SOURCE),)),
    "watch": Play(leave=Leave.FINISH),
    "stop-on-target": Play(entered=(Deed(_V.STOP, _W.ALL),)),
    "freeze-back": _BY_ITSELF,
    "return": _BY_ITSELF,
    "start-on-source": Play(entered=(Deed(_V.START, _W.ALL, _SOURCE),)),
}
"""Step → what is done at it. Every step of every scheme is in it."""

ABORTED = (Deed(_V.STOP, _W.READERS, _TARGET), Deed(_V.START, _W.ALL, _SOURCE))
"""Once a cutover was aborted the service goes on on the source, as before."""
