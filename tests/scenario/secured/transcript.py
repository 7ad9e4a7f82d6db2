"""The page that shows a move from beginning to end."""

from __future__ import annotations

from collections.abc import Sequence

from kmigrate.kafka_types import Side
from tests.conftest import SOURCE_VERSION, TARGET_VERSION
from tests.scenario.secured.walk import properties, renames
from tests.scenario.typed import Step, fenced, renamed, show
from tests.secured.granted import Guarded

HEAD = f"""\
# A move, from beginning to end

What an operator types to move two topics and their groups from a secured Kafka {SOURCE_VERSION} to a secured Kafka
{TARGET_VERSION}, and what is printed. Both want SASL over TLS, and have an authorizer; `copier` is no super user: on
either side it has the rights that [rights.md](rights.md) lists, and no other. `payments` is written in transactions,
some of which were aborted. How a whole service moves, with its applications, is [another page](move.md).

This page is written by `python -m tests.scenario.secured docs/transcript.md`, which starts both clusters and types the
commands; only the brokers' addresses and the folder of state are renamed. `make test` goes the same way.
"""


def write_down(steps: Sequence[Step], guarded: Guarded) -> str:
    """The page."""
    file = renamed(properties(guarded, Side.SOURCE), renames(guarded))
    parts = [HEAD, f"`old.properties`, and `new.properties` like it:\n\n{fenced(file)}"]
    return "\n".join([*parts, *map(show, steps)])
