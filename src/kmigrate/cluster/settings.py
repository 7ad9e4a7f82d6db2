"""How a process speaks to the brokers of one cluster; values only, so that pure modules may carry them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSettings:
    """How to reach a cluster's brokers; the same for the hot path and for admin calls."""

    client_id: str
    request_timeout_ms: int = 30_000
    connect_timeout_ms: int = 10_000
