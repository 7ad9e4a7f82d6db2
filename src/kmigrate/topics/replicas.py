"""How many replicas a topic gets.  (pure)"""

from __future__ import annotations

from typing import Literal


def decide_replication_factor(wanted: Literal["source", "fit"] | int, source_replicas: int, target_brokers: int) -> int:
    """How many replicas a topic gets on the target."""
    if wanted == "source":
        return source_replicas
    return min(source_replicas, target_brokers) if wanted == "fit" else wanted
