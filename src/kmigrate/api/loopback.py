"""What is served beside the unix sockets is served to this machine alone.

Rule: only loopback addresses. Whoever lets others in puts a proxy of his own in front.
"""

from __future__ import annotations

import ipaddress

from kmigrate.errors import UsageError


def parse_address(address: str, *, option: str = "--metrics", served: str = "metrics are") -> tuple[str, int]:
    """Host and port; raises UsageError unless it is an address of this machine alone."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not int(port) < 1 << 16:
        raise UsageError(f"{address!r} is no address", hint=f"write for example {option} 127.0.0.1:9404")
    try:
        is_ours = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_ours = False
    if not is_ours:
        raise UsageError(
            f"{served} served to this machine only, and {host} is not a loopback address",
            hint="use 127.0.0.1, and put a proxy in front if others are to read them",
        )
    return host, int(port)
