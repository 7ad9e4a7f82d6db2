"""A worker's share of the bytes a second is one bucket that all its pipelines draw from.

Sending is never refused, only followed by a delay: a batch goes out whole and leaves a debt that time pays
off. So the rate is exact in the long run, whatever the size of the batches. Unused time is credited for at
most half a second.
"""

from __future__ import annotations

import threading

_CREDIT_SECONDS = 0.5


class Throttle:
    """A token bucket with debt, safe to share between threads; the clock comes in as a value."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rate: int | None = None
        self._tokens = 0.0
        self._seen_seconds: float | None = None

    def set_rate(self, bytes_per_second: int | None) -> None:
        """Adopts a limit (None: none); a debt keeps its length in seconds."""
        with self._lock:
            if bytes_per_second == self._rate:
                return
            if bytes_per_second is None or self._rate is None:
                self._tokens = 0.0
                self._seen_seconds = None
            else:
                self._tokens *= bytes_per_second / self._rate
            self._rate = bytes_per_second

    def take(self, size_bytes: int) -> None:
        """Notes that so many bytes were sent."""
        with self._lock:
            if self._rate is not None:
                self._tokens -= size_bytes

    def delay_seconds(self, now: float) -> float:
        """How long sending must wait, seen from `now` on the monotonic clock; 0 without a limit."""
        with self._lock:
            if self._rate is None:
                return 0.0
            if self._seen_seconds is not None and now > self._seen_seconds:
                earned = (now - self._seen_seconds) * self._rate
                self._tokens = min(self._tokens + earned, _CREDIT_SECONDS * self._rate)
            self._seen_seconds = now if self._seen_seconds is None else max(now, self._seen_seconds)
            return max(0.0, -self._tokens / self._rate)
