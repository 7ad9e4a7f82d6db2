"""When the source will delete what is not copied yet, if everything goes on as it did lately.  (pure)

A partition that is behind has an age: that of the oldest record that may not be copied yet. Retention deletes at an
age, too. What matters is whether the age grows: one that falls will never meet the retention.
"""

from __future__ import annotations

from typing import NamedTuple

WINDOW_MS = 30_000
_FIRST_MS = 10_000


class Age(NamedTuple):
    """How old the next record to copy was at a time; from above."""

    at_ms: int
    seconds: float


class Ages(NamedTuple):
    """The age now, and two of before: at least one of them is not too young to tell how it changes."""

    newest: Age
    middle: Age
    oldest: Age

    @classmethod
    def beginning(cls, age: Age) -> Ages:
        return cls(age, age, age)

    def then(self, age: Age) -> Ages:
        """With the age as it is now."""
        if age.at_ms - self.middle.at_ms >= WINDOW_MS:
            return Ages(age, age, self.middle)
        return self._replace(newest=age)

    def loss_seconds(self, retention_ms: int | None) -> float | None:
        """How long until it is as old as the retention; None: never at this rate, or not known yet."""
        elapsed_ms = self.newest.at_ms - self.oldest.at_ms
        if retention_ms is None or elapsed_ms < _FIRST_MS:
            return None
        growing = (self.newest.seconds - self.oldest.seconds) / (elapsed_ms / 1000)
        if growing <= 0:
            return None
        return max(0.0, retention_ms / 1000 - self.newest.seconds) / growing
