"""Several batches become one: the same records, whichever of the two loops does it, or none at all.

Judged by the simulation's own decoder, which shares no code with the product.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hatch_build import SOURCE, compile_library
from kmigrate.records.batch import HEADER_BYTES, write_header
from kmigrate.records.compiled import LIBRARY
from kmigrate.records.splice import GROWTH_BYTES, PLAIN, SPLICER, Splicer, load_compiled
from tests.compiling import COMPILER, ROOT, compiled_library
from tests.simulation.batches import Record, StoredRecord, decode, make_batch, record_bytes, seal

NOW = 1_760_000_000_000


@pytest.fixture(scope="module", params=["plain", "compiled"])
def splicer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Splicer:
    return PLAIN if request.param == "plain" else _compiled(tmp_path_factory.mktemp("splice"))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Splicer:
    return _compiled(tmp_path_factory.mktemp("splice"))


def _compiled(folder: Path) -> Splicer:
    loaded = load_compiled(compiled_library(folder))
    assert loaded is not None
    return loaded


def lay(batches: Sequence[bytes]) -> tuple[memoryview, list[int]]:
    """The batches in a buffer, with something before and behind them, and where they begin."""
    starts, data = [], bytearray(b"\xee" * 7)
    for batch in batches:
        starts.append(len(data))
        data += batch
    return memoryview(data + b"\xee" * 9), starts


def room(batches: Sequence[bytes], records: int) -> int:
    return sum(map(len, batches)) + GROWTH_BYTES * records


def joined(splicer: Splicer, batches: Sequence[Sequence[Record]]) -> list[StoredRecord]:
    """What a consumer reads from the one batch that they became."""
    made = [make_batch(records, base_offset=100) for records in batches]
    everything = [record for records in batches for record in records]
    buffer, starts = lay(made)
    batch = splicer.join(buffer, starts, room(made, len(everything)))
    assert batch is not None
    newest = max(record.timestamp_ms for record in everything)
    base_ms = batches[0][0].timestamp_ms
    write_header(batch, codec=0, record_count=len(everything), base_timestamp_ms=base_ms, max_timestamp_ms=newest)
    return decode(
        seal(
            bytes(batch[HEADER_BYTES:]),
            last_offset_delta=len(everything) - 1,
            base_timestamp_ms=base_ms,
            max_timestamp_ms=newest,
            record_count=len(everything),
        )
    )


names = st.binary(max_size=4)
values = st.none() | st.binary(max_size=300)
records = st.builds(
    Record,
    timestamp_ms=st.integers(-1, 1 << 45) | st.integers(NOW - 5, NOW + 5),
    key=values,
    value=values,
    headers=st.lists(st.tuples(names, values), max_size=3).map(tuple),
)


@given(batches=st.lists(st.lists(records, min_size=1, max_size=20), min_size=1, max_size=8))
def test_the_records_stay_what_they_are(splicer: Splicer, batches: list[list[Record]]) -> None:
    found = joined(splicer, batches)
    assert [each.record for each in found] == [record for records in batches for record in records]
    assert [each.offset for each in found] == list(range(len(found)))


def test_offset_deltas_of_every_length_and_deltas_of_time_beyond_31_bits(splicer: Splicer) -> None:
    batches = [[Record(NOW * (number % 2), b"%d" % number, None)] for number in range(20_000)]
    found = joined(splicer, batches)
    assert [each.record for each in found] == [records[0] for records in batches]


def test_header_names_that_are_no_text_and_repeated_ones(splicer: Splicer) -> None:
    odd = Record(-1, b"", b"", ((b"\xff\xfe", None), (b"\xff\xfe", b""), (b"", b"x")))
    found = joined(splicer, [[odd], [Record(NOW, None, None)], [odd, odd]])
    assert [each.record for each in found] == [odd, Record(NOW, None, None), odd, odd]


def test_records_out_of_their_numbering_are_left_alone(splicer: Splicer) -> None:
    good = make_batch([Record(NOW, b"k", b"v")])
    for deltas, count in (([0, 2], 2), ([1], 1), ([0, 0], 2), ([0], 2), ([0, 1], 1), ([], 1)):
        body = b"".join(record_bytes(Record(NOW, b"k", b"v"), delta, 0) for delta in deltas)
        wrong = seal(body, last_offset_delta=count - 1, base_timestamp_ms=NOW, record_count=count)
        buffer, starts = lay([good, wrong])
        assert splicer.join(buffer, starts, 10_000) is None


def test_what_does_not_fit_is_left_alone(splicer: Splicer) -> None:
    batches = [make_batch([Record(NOW, b"k", b"v" * 100)])] * 3
    buffer, starts = lay(batches)
    assert splicer.join(buffer, starts, 3 * 100) is None
    assert splicer.join(buffer, starts, room(batches, 3)) is not None


@given(
    batches=st.lists(st.lists(records, min_size=1, max_size=5), min_size=1, max_size=4),
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), max_size=3),
)
def test_both_loops_say_the_same_of_damaged_records_too(
    compiled: Splicer, batches: list[list[Record]], flips: list[tuple[int, int]]
) -> None:
    made = [bytearray(make_batch(each)) for each in batches]
    for place, mask in flips:
        batch = made[place % len(made)]
        batch[HEADER_BYTES + place % (len(batch) - HEADER_BYTES)] ^= mask
    buffer, starts = lay([bytes(batch) for batch in made])
    most = room([bytes(batch) for batch in made], sum(map(len, batches)))
    found = [splicer.join(buffer, starts, most) for splicer in (compiled, PLAIN)]
    assert len({None if batch is None else bytes(batch[HEADER_BYTES:]) for batch in found}) == 1


def test_a_library_that_is_none_or_another_is_not_used(tmp_path: Path) -> None:
    assert load_compiled(tmp_path / "missing.so") is None
    other = tmp_path / "other.so"
    other.write_bytes(b"no library")
    assert load_compiled(other) is None


def test_a_compiler_that_fails_leaves_no_library_behind(tmp_path: Path) -> None:
    library = tmp_path / "splice.so"
    library.write_bytes(b"an old one")
    for compiler in ("no-such-compiler", str(tmp_path), "true", 'cc "-D', "/etc/passwd/cc"):
        assert compiler in compile_library(ROOT / SOURCE, library, compiler)
        assert not library.exists()
    missing = tmp_path / "not there" / "splice.so"
    assert compile_library(ROOT / SOURCE, missing, COMPILER or "cc")
    broken = tmp_path / "broken.c"
    broken.write_text("this is not C")
    if COMPILER is not None:
        assert "failed" in compile_library(broken, library, COMPILER)
        assert list(tmp_path.glob("splice*")) == []


def test_the_installed_library_is_in_use() -> None:
    assert SPLICER.is_compiled == LIBRARY.exists()
