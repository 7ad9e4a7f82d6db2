"""The manifest of the copy back: the same migration with its clusters swapped, and only what was promoted.  (pure)

Rule: nothing of it is the operator's to write. It has a name of its own, so that it is another producer, another lease
and another folder; groups, users, rules and quotas are none of its business.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from kmigrate.copy.identity import back_name
from kmigrate.kafka_types import TopicName
from kmigrate.manifest import Manifest, Selection
from kmigrate.offsets.beginning import EARLIEST

BACK = "back"
"""Its folder inside that of the migration."""
SWAPPED = "in the copy back the migration's target is the source, and its source the target"
"""What must be said with every message of its owner and copiers."""
_NOTHING = Selection(include=(), exclude=(".*",))


def derive(manifest: Manifest, topics: Iterable[TopicName], *, groups: Selection = _NOTHING) -> Manifest:
    """The manifest that copies these topics from the migration's target to its source; groups are left out."""
    return replace(
        manifest,
        name=back_name(manifest.name),
        source=manifest.target,
        target=manifest.source,
        topics=Selection(include=tuple(re.escape(topic) for topic in sorted(topics)), exclude=()),
        groups=groups,
        scheme=None,
        start=EARLIEST,
        principals={},
        users={},
        waves=(),
        notices=(),
    )
