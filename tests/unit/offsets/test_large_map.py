"""Ten million runs of one partition: what they take in memory, and how few of them a translation looks at."""

from __future__ import annotations

import subprocess
import sys
from array import array

from kmigrate.kafka_types import Offset
from kmigrate.offsets.offset_map import Ends, OffsetMap

RUNS = 10_000_000
LIMIT_BYTES = 400_000_000

BUILD_AND_TRANSLATE = """
import sys
from array import array
from pathlib import Path
from kmigrate.offsets.offset_map import Ends, OffsetMap

RUNS, PIECE = int(sys.argv[1]), 500_000
found = OffsetMap()
for first in range(0, RUNS, PIECE):
    pairs = array("q", bytes(16 * PIECE))
    pairs[::2] = array("q", range(first * 7, (first + PIECE) * 7, 7))
    pairs[1::2] = array("q", range(first * 3, (first + PIECE) * 3, 3))
    if sys.byteorder == "little":
        pairs.byteswap()
    found.extend(pairs.tobytes())
ends = Ends(RUNS * 7, RUNS * 3)
assert len(found) == RUNS
for run in range(0, RUNS, 99_991):
    assert found.to_target(run * 7 + 2, ends) == run * 3 + 2
    assert found.to_target(run * 7 + 5, ends) == run * 3 + 3
    assert found.to_source(run * 3 + 1, ends) == run * 7 + 1
peak, = (line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak) * 1024)
"""


class Counted(int):
    """An offset that counts how often it is compared."""

    comparisons = 0

    def __lt__(self, other: int) -> bool:
        Counted.comparisons += 1
        return int(self) < other

    def __gt__(self, other: int) -> bool:
        Counted.comparisons += 1
        return int(self) > other


def test_ten_million_runs_fit_into_the_memory_they_may_take() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BUILD_AND_TRANSLATE, str(RUNS)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 16 * RUNS < int(done.stdout) < LIMIT_BYTES


def test_a_translation_looks_at_few_runs() -> None:
    found, runs = OffsetMap(), 2**20
    pairs = array("q", bytes(16 * runs))
    pairs[::2], pairs[1::2] = array("q", range(0, runs * 7, 7)), array("q", range(0, runs * 3, 3))
    if sys.byteorder == "little":
        pairs.byteswap()
    found.extend(pairs.tobytes())
    ends = Ends(Offset(runs * 7), Offset(runs * 3))
    for offset in (0, 12_345, runs * 3 - 1):
        for translated in (found.to_target, found.to_source):
            Counted.comparisons = 0
            assert translated(Offset(Counted(offset)), ends) is not None
            assert 20 <= Counted.comparisons <= 26, "a bisection, and the ends"
