"""What of ours may still be on its way, and whether the target would refuse it.  (pure)

A broker refuses what would be a second append only while it holds our producer id, and it forgets an id when the
timestamps of its last batch are old. So more than one batch is in flight only while the id is certainly held, and
where something may be late, nothing is done that could make the target forget us before the log end was seen to stand
still. DESIGN.md §4, "When the sequence guards".
"""

from __future__ import annotations

from collections.abc import Iterable

from kmigrate.copy.pieces import Batch, Gap
from kmigrate.copy.standing import Quiet, Standing

QUIET_SECONDS = 5.0
"""How long the target's log end must stand still before a request that may be on its way counts as lost."""
MOST_SECONDS_A_LOOK = QUIET_SECONDS / 4
"""No more counts between two looks: a broker that stood still for longer answers as if nothing had been."""
MAX_REQUESTS_IN_FLIGHT = 5
"""Of one pipeline, on one connection."""


def append_timeout_ms(request_timeout_ms: int) -> int:
    """How long a broker may take for an append of ours, where this is how long an answer is waited for."""
    return max(1_000, request_timeout_ms * 2 // 3)


def behind_seconds(request_timeout_ms: int) -> float:
    """For how long a request may wait unread behind those before it on its connection."""
    return (MAX_REQUESTS_IN_FLIGHT - 1) * append_timeout_ms(request_timeout_ms) / 1000


class Stillness:
    """For how long something was seen not to change, by looks that were answered."""

    __slots__ = ("_at", "_since")

    def __init__(self, now: float) -> None:
        self._since = self._at = now

    def look(self, now: float) -> float:
        """It is the same now; returns the seconds since the first look, those that were seen."""
        self._since += max(0.0, now - self._at - MOST_SECONDS_A_LOOK)
        self._at = now
        return now - self._since


class Guard:
    """Of one partition."""

    def __init__(self, guarded_ms: int, *, fresh: bool) -> None:
        """`guarded_ms`: for how long after a record's timestamp the target certainly remembers our id.

        `fresh`: no other copier can have anything on its way.
        """
        self.late = not fresh
        """Whether data of ours may still be on its way."""
        self.late_markers = not fresh
        """The same of markers, which no sequence guards."""
        self.landed = -1
        """Where on the target the last batch of ours begins that is known to lie there; -1: not known."""
        self._guarded_ms = guarded_ms
        self._guarded_until_ms = 0
        self._needed = Quiet.UNLESS_GUARDED

    # ── whether the sequence guards ───────────────────────────────────────────────────────────────────────────

    def holds(self, first: Batch, now_ms: int) -> bool:
        """Whether the target certainly holds our id now, and will after this batch."""
        return now_ms < self._guarded_until_ms and now_ms < first.newest_ms + self._guarded_ms

    def on_sent(self, batch: Batch) -> None:
        """It may land any moment, and be what the target remembers."""
        self._guarded_until_ms = min(self._guarded_until_ms, batch.newest_ms + self._guarded_ms)

    def on_landed(self, batch: Batch) -> None:
        """The target remembers our id by this batch."""
        self._guarded_until_ms = batch.newest_ms + self._guarded_ms

    def forget(self) -> None:
        """The target counts as not holding our id, until a batch has landed."""
        self._guarded_until_ms = 0

    # ── whether something is late ─────────────────────────────────────────────────────────────────────────────

    @property
    def quiet(self) -> Quiet:
        """Whether the log end must be seen to stand still at the next standing."""
        return Quiet.NEEDLESS if self._needed is Quiet.UNLESS_GUARDED and not self.late else self._needed

    def need(self, quiet: Quiet) -> None:
        """The next standing is to wait so."""
        self._needed = quiet

    def on_standing(self, standing: Standing) -> None:
        """Copying goes on from here; what stood still has nothing on its way."""
        if standing.quiet:
            self.late = self.late_markers = False
        elif self._needed is Quiet.BRIEF:
            self.late_markers = False
        self._needed = Quiet.UNLESS_GUARDED
        self.landed = -1 if standing.tail.last_base is None else standing.tail.last_base

    def quiet_before(self, pieces: Iterable[Batch | Gap], now_ms: int) -> Quiet:
        """What must be waited for before these are sent; UNLESS_GUARDED: nothing.

        Appending old records may make the target forget our id, and take what comes late. Markers are guarded by
        nothing. Where the source still shows that there never was a record, only other markers can be late: a copier
        whose data would be late there has seen the same.
        """
        quiet = Quiet.UNLESS_GUARDED
        for piece in pieces:
            if isinstance(piece, Gap):
                if self.late_markers and piece.shown and quiet is Quiet.UNLESS_GUARDED:
                    quiet = Quiet.BRIEF
                elif not piece.shown:
                    quiet = Quiet.NEEDED
            elif self.late and now_ms >= piece.oldest_ms + self._guarded_ms:
                quiet = Quiet.NEEDED
        return quiet
