"""What holds the copy back: where its pipelines' time went in the last seconds.  (pure)

Rule: shares are of the time that was spent while something was to be copied; a pipeline without work says nothing.
Time comes in as a value.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from kmigrate.copy.orders import PipelineKey
from kmigrate.copy.spending import NOTHING_SPENT, Cause, Spent

WINDOW_MS = 10_000
SAMPLE_MS = 1_000
SMALLEST_SHARE = 0.01


class TimeShares:
    """Takes what each pipeline has spent, gives shares of all together."""

    def __init__(self) -> None:
        self._last: dict[PipelineKey, Spent] = {}
        self._samples: deque[tuple[int, Spent]] = deque()
        self._all = NOTHING_SPENT

    @property
    def spent(self) -> Spent:
        """Everything since this owner started."""
        return self._all

    def observe(self, key: PipelineKey, spent: Spent, now_ms: int) -> None:
        """Takes what a pipeline says; the word of one that has not begun says nothing."""
        if spent == NOTHING_SPENT:
            return
        self._all = self._all.plus(spent.since(self._last.get(key, NOTHING_SPENT)))
        self._last[key] = spent
        if not self._samples or now_ms - self._samples[-1][0] >= SAMPLE_MS:
            self._samples.append((now_ms, self._all))
        while len(self._samples) > 1 and self._samples[1][0] <= now_ms - WINDOW_MS:
            self._samples.popleft()

    def of_window(self, now_ms: int) -> Sequence[tuple[Cause, float]]:
        """The share of each cause in the last window, the largest first; nothing where too little is known."""
        if not self._samples or self._samples[-1][0] <= now_ms - WINDOW_MS:
            return ()
        spent = self._all.since(self._samples[0][1])
        busy = spent.busy
        if busy <= 0 or busy < spent.nothing:
            return ()
        found = [(cause, spent.of(cause) / busy) for cause in Cause if cause is not Cause.NOTHING]
        return sorted(
            ((cause, round(share, 3)) for cause, share in found if share >= SMALLEST_SHARE),
            key=lambda pair: -pair[1],
        )
