"""The page of an account: what people read of it, as blocks, section by section.  (pure)

Rule: what is all the same is one row: topics that are alike, partitions of a topic, entries in a row. What must be seen
(stops, differences, waivers) has a row of its own beside. `Everything` has each partition.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from kmigrate.report.account import ReportDocument
from kmigrate.report.blocks import Block, Heading, Items, Sentence, table
from kmigrate.report.page_deeds import cutover_blocks, deed_blocks, fence_blocks, unavailable_blocks
from kmigrate.report.page_groups import group_blocks
from kmigrate.report.page_proof import stop_blocks, verification_blocks
from kmigrate.report.page_topics import settings_blocks, topic_blocks
from kmigrate.report.words import UNKNOWN, show_number, show_time, show_times

MOST_WHERE = 5
"""How many of the places of which something is not known are named."""


def make_page(account: ReportDocument) -> list[Block]:
    """Everything, in the order in which it is read."""
    return list(
        chain(
            _head(account),
            _clusters(account),
            topic_blocks(account),
            settings_blocks(account),
            verification_blocks(account),
            stop_blocks(account),
            group_blocks(account),
            fence_blocks(account),
            cutover_blocks(account),
            unavailable_blocks(account),
            deed_blocks(account),
            _not_known(account),
            _chain(account),
        )
    )


def _head(account: ReportDocument) -> Iterator[Block]:
    totals, chain_ = account.totals, account.chain
    state = UNKNOWN if account.state is None else account.state.value
    yield Heading(f"Report of the migration {account.name}", 1)
    if not chain_.holds:
        yield Sentence(chain_.sentence, is_alarm=True)
    if totals.different:
        told = "partition differs" if totals.different == 1 else "partitions differ"
        yield Sentence(f"{totals.different:,} {told}: see Differences.", is_alarm=True)
    yield Sentence(
        f"Made {show_time(account.made_at)} by {account.made_by}. State {state}, as of {show_time(account.updated_at)}"
        + (f": {account.reason}." if account.reason else ".")
    )
    states = ", ".join(f"{count:,} {name}" for name, count in sorted(totals.states.items())) or UNKNOWN
    yield table(
        ("What", "How many"),
        [
            ("Topics", show_number(totals.topics)),
            ("Partitions", show_number(totals.partitions)),
            ("… by state", states),
            ("… stopped, and waiting for an answer", show_number(totals.stopped)),
            ("… waived by the operator", show_number(totals.waived)),
            ("… whose records were verified and are equal", show_number(totals.verified)),
            ("… found different", show_number(totals.different)),
            ("Topics left out", show_number(len(account.left_out))),
            ("Consumer groups", show_number(totals.groups) if account.groups_updated_at is not None else UNKNOWN),
            ("Cutovers", show_number(len(account.cutovers))),
        ],
    )


def _clusters(account: ReportDocument) -> Iterator[Block]:
    yield Heading("Clusters and versions")
    yield table(
        ("Cluster", "Cluster id", "Kafka"),
        [(each.side.value, each.cluster_id or UNKNOWN, each.release or UNKNOWN) for each in account.clusters],
    )
    runs = [each for each in account.journal if each.kind == "run"]
    versions = sorted({str(each.detail.get("version", UNKNOWN)) for each in runs})
    yield Items(
        (
            f"Begun: {show_time(account.begun_at)}",
            f"Persisted data from: {account.start or UNKNOWN}",
            f"Runs: {len(runs):,}, {show_times(each.at for each in runs)}" if runs else "Runs: none is journaled",
            f"kmigrate that ran: {', '.join(versions) or UNKNOWN}",
            f"Last term of the lease: {show_number(account.term)}",
        )
    )


def _not_known(account: ReportDocument) -> Iterator[Block]:
    yield Heading("What is not known")
    if not account.not_known:
        yield Sentence("Nothing.")
        return
    rows = []
    for each in account.not_known:
        more = (each.count or 0) - MOST_WHERE
        where = ", ".join(each.where[:MOST_WHERE]) + (f" … and {more:,} more" if more > 0 else "")
        rows.append((each.what, each.why, where))
    yield table(("What", "Why", "Where"), rows)


def _chain(account: ReportDocument) -> Iterator[Block]:
    found = account.chain
    yield Heading("The journal's chain")
    yield Sentence(
        "Each entry of the journal carries the SHA-256 of the hash before it and of its own number, time, kind and "
        "detail. A head that was noted elsewhere must be the hash of that entry in every later report."
    )
    yield Items((f"Entries: {found.entries:,}", f"Head: entry {found.head_number}, {found.head_hash}"))
    yield Sentence(found.sentence, is_alarm=not found.holds)
