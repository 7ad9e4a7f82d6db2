"""The check of every gate, in one table.

Rule: as in `gates.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

from kmigrate.schemes import checks_copy, checks_readers, checks_writers
from kmigrate.schemes.gates import STATUS, Answer, Check, GateResult, View
from kmigrate.schemes.steps import Gate


def examine(view: View) -> tuple[GateResult, ...]:
    """Every gate of the step that a cutover is at."""
    return tuple(check(gate, view) for gate in view.cutover.at.step.gates)


def check(gate: Gate, view: View) -> GateResult:
    """One gate, as the facts have it now."""
    is_open, told, way = CHECKS[gate](view)
    return GateResult(gate=gate, is_open=is_open, told=told, way=way)


ASKS_NAME = "`kmigrate cutover {command} -f FILE` lists what cannot be undone, and asks for the migration's name"


def _lease(view: View) -> Answer:
    held = view.facts.is_lease_held
    if held:
        return True, "the lease is held", ""
    return False, "the lease is not known to be held" if held is None else "the lease is not held", STATUS


def _approved(view: View) -> Answer:
    given = view.cutover.approval
    if view.cutover.is_approved(view.now):
        assert given is not None
        return True, f"approved {view.now - given.at_seconds:.0f} s ago", ""
    told = "not approved" if given is None else "the approval has expired"
    return False, told, ASKS_NAME.format(command="finish" if view.cutover.is_at_end else "next")


CHECKS: Mapping[Gate, Check] = {
    Gate.LEASE: _lease,
    Gate.NO_STOPS: checks_copy.check_no_stops,
    Gate.TOPICS_READY: checks_copy.check_topics_ready,
    Gate.IN_SYNC: checks_copy.check_in_sync,
    Gate.VERIFIED: checks_copy.check_verified,
    Gate.RATES_AGREE: checks_copy.check_rates_agree,
    Gate.NO_EARLY_WRITERS: checks_writers.check_no_early_writers,
    Gate.NO_EARLY_READERS: checks_readers.check_no_early_readers,
    Gate.READERS_STOPPED: checks_readers.check_readers_stopped,
    Gate.COMMITS_COPIED: checks_readers.check_commits_copied,
    Gate.WRITERS_STOPPED: checks_writers.check_writers_stopped,
    Gate.SOURCE_STILL: checks_writers.check_source_still,
    Gate.NO_STRAGGLERS: checks_writers.check_no_stragglers,
    Gate.TARGET_MOVING: checks_writers.check_target_moving,
    Gate.FROZEN: checks_copy.check_frozen,
    Gate.TAIL_COPIED: checks_copy.check_tail_copied,
    Gate.TAIL_VERIFIED: checks_copy.check_tail_verified,
    Gate.ALL_COPIED: checks_copy.check_all_copied,
    Gate.DRAINED: checks_readers.check_drained,
    Gate.PREPARED: checks_readers.check_prepared,
    Gate.READERS_PRESENT: checks_readers.check_readers_present,
    Gate.ALL_OWNED: checks_readers.check_all_owned,
    Gate.POSITIONS_HOLD: checks_readers.check_positions_hold,
    Gate.GONE_FROM_SOURCE: checks_readers.check_gone_from_source,
    Gate.LAG_FALLING: checks_readers.check_lag_falling,
    Gate.NO_LATE_RECORDS: checks_writers.check_no_late_records,
    Gate.READERS_AWAY: checks_readers.check_readers_away,
    Gate.TARGET_STOPPED: checks_writers.check_target_stopped,
    Gate.TARGET_FROZEN: checks_copy.check_target_frozen,
    Gate.COPIED_BACK: checks_copy.check_copied_back,
    Gate.VERIFIED_BACK: checks_copy.check_verified_back,
    Gate.SOURCE_IN_USE: checks_readers.check_source_in_use,
    Gate.APPROVED: _approved,
}
"""Gate → its check."""
