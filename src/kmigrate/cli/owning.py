"""How a process is the owner of a migration, from its store to the word that it leaves: for `run` and for `serve`.

Rule: whatever ends it, the owner is stopped, and the status says why to whoever asks when no owner runs.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from kmigrate.api.server import ApiServer
from kmigrate.cli.interrupts import INTERRUPTED, Interrupts, polite_signals
from kmigrate.cli.siblings import refuse_shared
from kmigrate.cli.view import View
from kmigrate.copy.rates import rate_limits
from kmigrate.errors import Blocked, KmigrateError
from kmigrate.manifest import Manifest
from kmigrate.runner.desk import Desk
from kmigrate.runner.folder import Ownership
from kmigrate.runner.lookup import Lookup
from kmigrate.runner.status import MigrationState, StatusDocument, ended
from kmigrate.runner.unchanged import refuse_changed
from kmigrate.state.store import Store

if TYPE_CHECKING:
    from kmigrate.runner.start import Beginning

log = logging.getLogger(__name__)

NEXT_RUN = "kmigrate run -f FILE follows new records; the target's topics stay under hold"

Beside: TypeAlias = Callable[[Desk], contextlib.AbstractContextManager[object]]
"""What lasts as long as the owner does."""


def own(
    manifest: Manifest,
    ownership: Ownership,
    view: View,
    *,
    until_in_sync: bool,
    beside: Beside,
    recover_from: Path | None = None,
) -> tuple[int, StatusDocument | None]:
    """Owns the migration until its end; returns the exit code and how things stood."""
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(contextlib.closing(Store.open(ownership.folder.path)))
        # the owner looks at the desk several times a second: there is nobody to wake
        desk = Desk(store, lambda: None, manifest_limits=rate_limits(manifest.limits))
        stack.enter_context(beside(desk))
        exit_code = _own(manifest, ownership, store, desk, view, until_in_sync=until_in_sync, recover_from=recover_from)
        document = desk.status()
        if document is None:
            return exit_code, None
        if until_in_sync:
            document = _reached(document, exit_code)
        interrupted = exit_code == INTERRUPTED
        left = _leave(desk, document, "interrupted" if interrupted else "ended")
        return exit_code, left if interrupted else document


def _own(
    manifest: Manifest,
    ownership: Ownership,
    store: Store,
    desk: Desk,
    view: View,
    *,
    until_in_sync: bool,
    recover_from: Path | None,
) -> int:
    """Runs the owner until its end; returns the exit code."""
    from kmigrate.runner.owner import Owner  # the copying side is imported last: usage errors come at once

    def refuse(found: Beginning) -> None:
        refuse_changed(
            manifest,
            store,
            memories=found.memories,
            classes=found.classes,
            answered=desk.answered_classes(),
            recreate=desk.decisions().recreate,
            source_ids={name: each.topic_id for name, each in found.source.topics.items()},
        )
        refuse_shared(manifest, ownership.folder, found.source.cluster_id, found.target.cluster_id)

    owner = Owner(
        manifest=manifest,
        folder=ownership,
        store=store,
        desk=desk,
        report=view.tell,
        refuse=refuse,
        recover_from=recover_from,
    )
    if desk.status() is None:
        desk.publish(_starting(manifest.name))
    interrupts = Interrupts()
    with polite_signals(interrupts), ApiServer(desk, Lookup(store, desk.status), ownership):
        try:
            owner.start()  # waits for clusters: a signal ends it wherever it is
            interrupts.waits = True
            return owner.wait(until_in_sync, view.show, interrupts.check)
        except (KeyboardInterrupt, Exception) as error:
            if interrupts.asked:
                interrupts.waits = True
                view.close()
                view.tell("ending: what was sent is finished first; once more ends at once")
                return INTERRUPTED
            if isinstance(error, KmigrateError):
                _leave_word(desk, error)
            raise
        finally:
            interrupts.waits = True
            view.close()
            owner.stop()


def _reached(document: StatusDocument, exit_code: int) -> StatusDocument:
    """What the owner found at its end, which partitions may say a moment later."""
    stopped = len(document.stopped)
    if exit_code == 0:
        reason = "everything that was there when it was asked for is copied"
        return replace(document, state=MigrationState.IN_SYNC, reason=reason, next_step=NEXT_RUN)
    if exit_code == Blocked.exit_code and stopped:
        reason = f"{stopped:,} stopped; everything else that was there when it was asked for is copied"
        return replace(document, state=MigrationState.STOPPED, reason=reason)
    return document


def _starting(name: str) -> StatusDocument:
    now_ms = time.time_ns() // 1_000_000
    return StatusDocument(
        name=name,
        state=MigrationState.WAITING,
        reason="the owner is starting",
        started_at=now_ms,
        updated_at=now_ms,
    )


def _leave_word(desk: Desk, error: KmigrateError) -> None:
    log.error("%s", error)
    document = desk.status()
    if document is not None:
        _leave(desk, document, str(error))


def _leave(desk: Desk, document: StatusDocument, reason: str) -> StatusDocument:
    """Leaves word for who asks when no owner runs; returns it."""
    if document.state not in (MigrationState.ENDED, MigrationState.SUPERSEDED):
        before = f"; it was {document.state.value}: {document.reason}" if document.topics else ""
        document = ended(document, reason + before, is_finished=desk.cutover.is_finished)
        desk.publish(document)
    desk.save()
    return document
