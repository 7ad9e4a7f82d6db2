"""Applications that leave in one source partition everything that a partition can hold.

Plain and idempotent batches, transactions side by side that commit, abort or stay open, markers without records, append
time, older formats at the beginning, a log that is compacted while it is copied, and one whose start moves. Each load
has some of these traits. All content is of its own, so that the ledger can tell every record from every other.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.simulation.batches import (
    TRANSACTIONAL,
    Record,
    StoredRecord,
    make_batch,
    make_message,
    with_append_time,
)
from tests.simulation.ledger import Ledger
from tests.simulation.log import DAY_MS, PartitionLog

IDEMPOTENT = (11, 12)
TRANSACTIONAL_IDS = (21, 22, 23)
ODD_HEADERS: tuple[tuple[tuple[bytes, bytes | None], ...], ...] = (
    (),
    ((b"trace", b"1"), (b"trace", b"2")),
    ((b"\xff\xfe", None), (b"", b"")),
)
"""No header, one name twice, and a name that is no text."""


class MixedLoad:
    """One source partition under its load; everything that is written is told to the ledger."""

    def __init__(
        self,
        chance: random.Random,
        log: PartitionLog,
        ledger: Ledger,
        timestamp: Callable[[], int],
        wall_ms: Callable[[], int],
    ) -> None:
        self._chance = chance
        self._log = log
        self._ledger = ledger
        self._timestamp = timestamp
        self._wall_ms = wall_ms
        self._written = 0
        self._epochs: dict[int, int] = {}
        self._sequences: dict[int, int] = {}
        self._transactions = chance.random() < 0.7
        self._bumps_epochs = chance.random() < 0.5
        self._old_magic = chance.choice([0, 1])
        self._old_entries = chance.choice([0, 0, 0, 4, 12])
        self._append_time = chance.random() < 0.25
        self._trimmed_at_first = chance.random() < 0.2
        self.cleans = log.compact = chance.random() < 0.5
        self.trims = not log.compact and chance.random() < 0.4
        self.was_trimmed = False

    def begin(self) -> None:
        """What happened before anything was copied: maybe the oldest records are gone."""
        if self._trimmed_at_first:
            for _ in range(self._chance.choice([1, 5, 20])):
                self.write()
            self.trim(self._chance.randrange(self._log.end + 1))

    # ── writing ───────────────────────────────────────────────────────────────────────────────────────────────

    def write(self) -> None:
        """One thing that applications, or the coordinator, do."""
        chance = self._chance
        pick = chance.random()
        if self._old_entries:
            self._old_entries -= 1
            self._write_old()
        elif pick < 0.03:
            self._append_time = not self._append_time
        elif self.cleans and pick < 0.12:
            self.clean()
        elif self._transactions and pick < 0.5:
            self._go_on_with_transaction()
        elif self._transactions and pick < 0.53:
            self._end(chance.choice(TRANSACTIONAL_IDS))
        else:
            self._write_batch(chance.choice([-1, -1, *IDEMPOTENT]), 0)

    def settle(self, *, all_of_them: bool) -> None:
        """Open transactions come to their end, but maybe for one, which hangs."""
        still_open = sorted(self._log.transactions.open)
        for producer_id in still_open if all_of_them else still_open[1:]:
            self._end(producer_id)

    def _go_on_with_transaction(self) -> None:
        producer_id = self._chance.choice(TRANSACTIONAL_IDS)
        if producer_id in self._log.transactions.open and self._chance.random() < 0.5:
            self._end(producer_id)
        else:
            self._write_batch(producer_id, TRANSACTIONAL)

    def _end(self, producer_id: int) -> None:
        """A marker, whether or not there is a transaction; newer coordinators raise the epoch with it."""
        self._epochs[producer_id] = self._epochs.get(producer_id, 0) + self._bumps_epochs
        committed = self._chance.random() < 0.6
        appended = self._log.write_marker(
            producer_id, self._epochs[producer_id], 0, self._wall_ms(), committed=committed
        )
        assert not appended.error, appended
        self._ledger.wrote(self._log.batches[-1])

    def _write_batch(self, producer_id: int, attributes: int) -> None:
        chance, records = self._chance, self._records()
        sequence = -1
        if producer_id >= 0:
            sequence = self._sequences.get(producer_id, 0)
            self._sequences[producer_id] = sequence + len(records)
        batch = make_batch(
            records,
            codec=chance.choice([0, 0, 1, 2, 3, 4]),
            attributes=attributes,
            producer_id=producer_id,
            producer_epoch=self._epochs.get(producer_id, 0) if producer_id >= 0 else -1,
            base_sequence=sequence,
        )
        if self._append_time:
            batch = with_append_time(batch, self._wall_ms())
        self._ledger.wrote(self._log.write(batch))

    def _write_old(self) -> None:
        """An entry as brokers before 0.11 wrote it; single messages, or several in a wrapper."""
        chance = self._chance
        codec = chance.choice([0, 1, 2, 3])
        records = [
            StoredRecord(self._log.end + delta, record.timestamp_ms, record.key, record.value, ())
            for delta, record in enumerate(self._records()[: None if codec else 1])
        ]
        appended_at = self._wall_ms() if self._append_time and self._old_magic else None
        entry = make_message(records, magic=self._old_magic, codec=codec, append_time_ms=appended_at)
        self._ledger.wrote(self._log.write(entry))

    def _records(self) -> list[Record]:
        return [self._record() for _ in range(self._chance.choice([1, 1, 2, 3, 6]))]

    def _record(self) -> Record:
        chance = self._chance
        self._written += 1
        size = chance.choice([4, 4, 4, 50, 300, 3_000])
        value = self._written.to_bytes(4, "big") + chance.randbytes(size)
        if not self._log.compact:
            return Record(self._timestamp(), None, value, chance.choice(ODD_HEADERS))
        key = b"key %d" % chance.randrange(12)
        tombstone = chance.random() < 0.1
        return Record(self._timestamp(), key, None if tombstone else value, chance.choice(ODD_HEADERS))

    # ── what goes away ────────────────────────────────────────────────────────────────────────────────────────

    def clean(self) -> None:
        """The cleaner runs over the older part of the log; other replicas may come to it later."""
        chance, log = self._chance, self._log
        before = log.batches
        if len(before) < 4:
            return
        keys = frozenset(b"key %d" % number for number in range(12) if chance.random() < 0.5)
        log.clean(
            chance.choice([batch.next for batch in before[:-2]]),
            self._wall_ms(),
            keys=chance.choice([None, keys]),
            idle=frozenset(each for each in (*IDEMPOTENT, *TRANSACTIONAL_IDS) if chance.random() < 0.3),
            delete_retention_ms=chance.choice([0, 1_000, DAY_MS]),
            everywhere=chance.random() < 0.7,
        )
        if log.batches is not before:
            self._ledger.cleaned(log.batches)

    def trim(self, before: int) -> None:
        """Retention, or an application, deletes the records below an offset."""
        self._log.delete_records(before)
        self._ledger.trimmed(self._log.log_start)
        self.was_trimmed = self.was_trimmed or before > 0
