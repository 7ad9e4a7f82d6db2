"""Ports for servers on loopback, from outside of the range that the kernel gives to clients.

A port that bind(0) finds lies in the kernel's ephemeral range: while a killed broker is down, any
outgoing connection may be given it, and the broker cannot come back. Below that range only another
server can be in the way; whoever starts one tries again with other ports.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

_LOWEST = 10_000
_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_ATTEMPTS = 1_000


def find_free_ports(count: int) -> list[int]:
    """Distinct ports of 127.0.0.1 that nothing listens on right now."""
    below = _first_ephemeral_port()
    chance = random.SystemRandom()  # not seeded: two runs with one seed must not meet on one port
    found: set[int] = set()
    for _ in range(_ATTEMPTS):
        if len(found) == count:
            return sorted(found)
        wanted = chance.randrange(_LOWEST, below) if below > _LOWEST + _ATTEMPTS else 0
        port = _bind_briefly(wanted)
        if port is not None:
            found.add(port)
    raise OSError(f"no {count} free ports on 127.0.0.1")


def _first_ephemeral_port() -> int:
    try:
        return int(_RANGE_FILE.read_text(encoding="ascii").split()[0])
    except OSError:
        return 32_768  # not Linux; also below the ranges of the BSDs and macOS


def _bind_briefly(port: int) -> int | None:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return None
        bound: int = probe.getsockname()[1]
        return bound
