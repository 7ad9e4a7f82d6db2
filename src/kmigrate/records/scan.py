"""Finds how many small batches follow one another, plain and undamaged, in one call.  (pure)

There is this loop only where `compiled.c` is compiled. Without it a walk looks at one batch after the other in Python,
and finds the same.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from kmigrate.records.compiled import LIBRARY, load_library


class Run(NamedTuple):
    """What is looked for, and what was found; the same fields in the same order as in `compiled.c`.

    `at` is where the next batch lies in the buffer, `next` the offset wanted there; batches with `forbidden_bits` among
    their attributes are none of the run, nor are those whose first timestamp is negative, unless that is so of all of
    them. `most_batch_bytes` is the limit of a batch, `most_bytes` that of all of them merged, in which a record may
    take `widened_bytes` more; so many `most_batches` more are looked for. `batches`, `records`, `size` and the
    timestamps count those that were there before, too. `epoch` is the leader epoch of the last one that was found.
    """

    at: int
    next: int
    forbidden_bits: int
    without_timestamp: bool
    most_batch_bytes: int
    most_bytes: int
    most_batches: int
    widened_bytes: int
    batches: int
    records: int
    size: int
    newest_ms: int
    oldest_ms: int
    largest_bytes: int
    epoch: int


Scan = Callable[[memoryview, int, Run], "tuple[Run, list[int]]"]
"""Takes a buffer that may be written, the end of what lies in it, and a run; returns the run with what was found, and
where each of these begins."""


def load_scan(library: Path) -> Scan | None:
    """The compiled loop; None where there is no library, or not one for this machine and this revision."""
    loaded = load_library(library)
    if loaded is None:
        return None
    import ctypes

    scan_batches = loaded.scan_batches
    scan_batches.restype = ctypes.c_int64
    scan_batches.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p]

    def scan(buffer: memoryview, end: int, run: Run) -> tuple[Run, list[int]]:
        fields, starts = array("q", run), array("q", bytes(8 * run.most_batches))
        source = ctypes.c_char.from_buffer(buffer)
        found: int = scan_batches(ctypes.addressof(source), end, fields.buffer_info()[0], starts.buffer_info()[0])
        return Run._make(fields), starts[:found].tolist()

    return scan


SCAN = load_scan(LIBRARY)
"""What this installation has."""
