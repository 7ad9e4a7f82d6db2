"""One thing of the source that the target gets, has or does not get, and why: what a plan lists beside partitions.

Each module of `kinds` turns the decisions about one kind of thing into actions. Their order is stable, so that two
plans can be compared line by line.  (pure)
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from pydantic import ConfigDict, with_config
from pydantic.alias_generators import to_camel

_JSON = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


class Kind(enum.Enum):
    """What an action is about; `apply --only` goes by it."""

    TOPICS = "topics"
    CONFIGS = "configs"
    ACLS = "acls"
    QUOTAS = "quotas"
    USERS = "users"
    GROUPS = "groups"
    WAVES = "waves"


class Verb(enum.Enum):
    """What is done."""

    CREATE = "create"
    ENLARGE = "enlarge"
    """Partitions are added."""
    SET = "set"
    PREPARE = "prepare"
    """Recorded now, carried out at promotion."""
    FOLLOW = "follow"
    """Kept in step while it is copied."""
    MOVE = "move"
    """Its applications go to the target."""
    NOTHING = "nothing"
    """The target has it."""
    KEEP = "keep"
    """The target has it otherwise, and that stays."""
    BY_HAND = "by hand"
    LEAVE_OUT = "leave out"
    BLOCKED = "blocked"
    UNKNOWN = "unknown"
    """One of the clusters does not tell."""


class When(enum.Enum):
    """When it takes effect."""

    NOW = "now"
    COPYING = "while copying"
    END_OF_HOLD = "end of hold"
    PROMOTION = "promotion"
    CUTOVER = "cutover"
    NEVER = "never"


_CHANGES = frozenset({Verb.CREATE, Verb.ENLARGE, Verb.SET})


@with_config(_JSON)
@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedAction:
    """`name` is the thing's (a topic, a resource, a client, a user, a group, a wave), `what` the rest of it.

    `hint` says how to mend what is blocked; empty where the checks say it.
    """

    kind: Kind
    name: str
    action: Verb
    what: str
    reason: str
    when: When = When.NEVER
    hint: str = ""

    @property
    def is_change(self) -> bool:
        """Whether `apply` would change the target."""
        return self.action in _CHANGES and self.when is When.NOW

    @property
    def place(self) -> tuple[int, str, str]:
        """Where it stands in a plan: by kind, name, and what."""
        return list(Kind).index(self.kind), self.name, self.what
