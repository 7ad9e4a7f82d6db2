"""The ledger of mapped and shifted partitions takes a right copy for right, and finds each kind of a wrong one."""

from __future__ import annotations

import pytest

from kmigrate.kafka_types import Offset
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import Run
from tests.simulation.batches import Record, make_batch
from tests.simulation.ledger import BrokenLawError
from tests.simulation.log import PartitionLog
from tests.simulation.map_ledger import MapLedger

NOW = 1_760_000_000_000
FIRST, GAPPED = Run(Offset(0), Offset(0)), Run(Offset(3), Offset(2))
"""The source holds records at 0, 1, 3 and 4, and a marker at 2."""


def record(number: int) -> Record:
    return Record(NOW + number, None, b"v%d" % number)


class World:
    """One source as above, an empty target, and what is saved."""

    def __init__(self, offset_class: OffsetClass = OffsetClass.MAPPED, *runs: Run) -> None:
        self.source, self.target, self.ledger = PartitionLog("aa" * 16), PartitionLog("bb" * 16), MapLedger()
        for numbers in ([0, 1], None, [3], [4]):
            if numbers is None:
                self.source.write_marker(21, 0, 0, NOW)
            else:
                self.source.write(make_batch([record(number) for number in numbers]))
            self.ledger.wrote(self.source.batches[-1])
        self.ledger.offset_class = offset_class
        self.save(*runs)

    def save(self, *runs: Run) -> None:
        self.ledger.saved(runs, self.target)

    def put(self, *numbers: int) -> str | None:
        """What the ledger says of a batch with these records of the source."""
        self.target.write(make_batch([record(number) for number in numbers]))
        why = self.ledger.misplaced(self.target.batches)
        if why is None:
            self.ledger.check_end(self.target)
        return why

    def mark(self) -> str | None:
        self.target.write_marker(31, 0, 0, NOW)
        return self.ledger.misplaced(self.target.batches)


def test_a_copy_whose_map_is_saved_first_is_right() -> None:
    world = World(OffsetClass.MAPPED, FIRST, GAPPED)
    assert (world.put(0, 1), world.put(3, 4)) == (None, None)
    assert world.ledger.agree(world.source, world.target)


def test_records_across_a_gap_may_share_a_batch() -> None:
    world = World(OffsetClass.MAPPED, FIRST, GAPPED)
    assert world.put(0, 1, 3, 4) is None
    assert world.ledger.agree(world.source, world.target)


def test_what_lands_before_any_map_is_saved_is_found() -> None:
    with pytest.raises(BrokenLawError, match="does not tell"):
        World().put(0)


def test_what_lands_before_its_run_is_saved_is_found() -> None:
    world = World(OffsetClass.MAPPED, FIRST)
    assert world.put(0, 1) is None
    assert world.put(3) == "the source's record of offset 3 landed at 2"


def test_a_run_that_leaves_out_a_record_is_found() -> None:
    world = World(OffsetClass.MAPPED, FIRST)
    assert world.put(0, 1) is None
    with pytest.raises(BrokenLawError, match="copying goes on at 4"):
        world.save(FIRST, Run(Offset(4), Offset(2)))


def test_a_saved_map_that_forgets_a_run_is_found() -> None:
    world = World(OffsetClass.MAPPED, FIRST, GAPPED)
    assert (world.put(0, 1), world.put(3)) == (None, None)
    with pytest.raises(BrokenLawError, match="offset 2 of the target is 2 of the source, but that is 3"):
        world.save(FIRST)


def test_a_record_that_lies_there_twice_or_not_at_all_is_found() -> None:
    world = World(OffsetClass.MAPPED, FIRST, GAPPED)
    assert world.put(0, 1, 3) is None
    assert world.put(3) == "the source's record of offset 3 landed at 4"
    world = World(OffsetClass.MAPPED, Run(Offset(1), Offset(0)))
    assert world.put(1) == "the source's record of offset 1 lies behind none"


def test_a_marker_where_gaps_are_left_out_is_found() -> None:
    world = World(OffsetClass.MAPPED, FIRST, GAPPED)
    assert world.put(0, 1) is None
    assert world.mark() == "a marker landed at 2, where gaps are left out"


def test_a_map_that_names_a_gap_for_a_record_does_not_agree() -> None:
    world = World(OffsetClass.MAPPED, FIRST, GAPPED)
    assert world.put(0, 1, 3, 4) is None
    world.ledger.runs = [FIRST, Run(Offset(2), Offset(2)), Run(Offset(4), Offset(3))]
    assert not world.ledger.agree(world.source, world.target)


def test_a_record_that_the_map_passes_over_is_found() -> None:
    world = World(OffsetClass.MAPPED, FIRST, GAPPED)
    assert world.put(0, 1, 3, 4) is None
    world.ledger.runs = [FIRST]
    assert not world.ledger.agree(world.source, world.target)


def test_shifted_offsets_differ_by_a_constant_markers_included() -> None:
    world = World(OffsetClass.SHIFTED, Run(Offset(1), Offset(0)))
    world.ledger.trimmed(1)
    world.source.delete_records(1)
    assert (world.put(1), world.mark(), world.put(3, 4)) == (None, None, None)
    assert world.ledger.agree(world.source, world.target)


def test_what_an_earlier_class_copied_stays_where_it_lies() -> None:
    world = World(OffsetClass.IDENTICAL)
    assert (world.put(0, 1), world.mark()) == (None, None)
    world.ledger.becomes(OffsetClass.MAPPED, [FIRST], world.target)
    assert world.put(3, 4) is None
    assert world.ledger.agree(world.source, world.target)
