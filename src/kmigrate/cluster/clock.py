"""The clock that leases and back-offs go by."""

from __future__ import annotations

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady_seconds() -> float:
    """Seconds that never go back, are the same in every process, and go on while the machine is suspended.

    A machine that slept through its lease must not wake up with time left on it; CLOCK_MONOTONIC stands still then.
    """
    return time.clock_gettime(_CLOCK)
