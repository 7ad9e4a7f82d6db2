"""What is aborted is what a read-committed consumer does not see; a list of transactions is the witness."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from kmigrate.copy.aborted import AbortedTransactions
from kmigrate.records.batch import CONTROL, TRANSACTIONAL, Header

PRODUCERS = [5, 6, 7]


def batch(base: int, count: int, producer_id: int, attributes: int) -> Header:
    return Header(base, 0, 0, 2, 0, attributes, count - 1, 0, 0, producer_id, 0, 0, count)


def a_log(chance: random.Random) -> tuple[list[tuple[Header, bool]], list[tuple[int, int, int]]]:
    """Batches with whether they were aborted, and the aborted transactions: (producer id, first, last offset)."""
    log: list[tuple[Header, bool]] = []
    open_since: dict[int, tuple[int, list[int]]] = {}
    aborted: list[tuple[int, int, int]] = []
    end = 0
    for _ in range(chance.randrange(5, 60)):
        producer_id, count = chance.choice(PRODUCERS), chance.randrange(1, 4)
        kind = chance.choice(["data", "data", "plain", "commit", "abort"])
        if kind == "plain":
            log.append((batch(end, count, producer_id if chance.random() < 0.5 else -1, 0), False))
        elif kind == "data":
            open_since.setdefault(producer_id, (end, []))[1].append(len(log))
            log.append((batch(end, count, producer_id, TRANSACTIONAL), False))
        elif producer_id in open_since:
            first, places = open_since.pop(producer_id)
            count = 1
            log.append((batch(end, 1, producer_id, TRANSACTIONAL | CONTROL), False))
            if kind == "abort":
                aborted.append((producer_id, first, end))
                for place in places:
                    log[place] = log[place][0], True
        else:
            continue
        end += count
    stable = min((first for first, _ in open_since.values()), default=end)
    return [each for each in log if each[0].base_offset < stable], aborted


@given(st.integers(0, 2**32), st.integers(0, 60), st.integers(1, 60))
def test_every_aborted_batch_is_known_wherever_a_fetch_begins(seed: int, first: int, length: int) -> None:
    chance = random.Random(seed)
    log, aborted = a_log(chance)
    answer = log[first : first + length]
    if not answer:
        return
    begin, end = answer[0][0].base_offset, answer[-1][0].next_offset
    told = [(producer_id, since) for producer_id, since, until in aborted if until >= begin and since < end]
    chance.shuffle(told)
    found = AbortedTransactions(told)
    assert [found.covers(header) for header, _ in answer] == [truth for _, truth in answer]
