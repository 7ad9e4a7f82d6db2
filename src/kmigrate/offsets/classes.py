"""The offset class of a partition: how an offset on the target follows from the one on the source.  (pure)"""

from __future__ import annotations

import enum


class OffsetClass(enum.StrEnum):
    """Never changes silently: it is decided when a partition is first copied, and by an operator afterwards."""

    IDENTICAL = "identical"
    """The same offsets: filler stands below the source's log start, markers in gaps."""
    SHIFTED = "shifted"
    """Target = source − constant: the copy begins at 0, markers stand in gaps."""
    MAPPED = "mapped"
    """Gaps are left out; a map of runs says where everything went."""

    @property
    def aligns(self) -> bool:
        """Whether the target's log is brought to the source's log start first."""
        return self is OffsetClass.IDENTICAL

    @property
    def fills_gaps(self) -> bool:
        """Whether markers take the place of gaps."""
        return self is not OffsetClass.MAPPED

    @property
    def needs_map(self) -> bool:
        """Whether the offset map is authoritative: without it nobody could tell where the copy stands."""
        return self is not OffsetClass.IDENTICAL
