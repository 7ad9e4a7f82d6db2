"""Who runs which cell, where several processes run the same cells side by side: the first one that claims it."""

from __future__ import annotations

import hashlib
from pathlib import Path


class Claims:
    """One file a claimed cell, in a folder that belongs to one run of the matrix."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def take(self, cell: str) -> bool:
        """Whether the cell is the caller's: it is once, whoever asks first."""
        name = hashlib.sha256(cell.encode()).hexdigest()[:32]
        try:
            with (self._folder / name).open("x", encoding="utf-8") as claim:
                claim.write(cell)
        except FileExistsError:
            return False
        return True
