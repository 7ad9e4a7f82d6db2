"""The reads that commands begin with: answered the same by the application and, without an owner, by this module alone.

Rule: one function for each, so that both ways tell the same. The application takes ten times longer to load than any of
these reads takes; here, each imports only what it needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from kmigrate.api.door import NO_CONTENT, Door, Reply

if TYPE_CHECKING:
    from kmigrate.runner.desk import Desk
    from kmigrate.runner.folder import MigrationFolder
    from kmigrate.runner.recorded_classes import RecordedClasses
    from kmigrate.state.store import Store

CLASSES = "/v1/offsets/classes"


def status(desk: Desk, *, brief: bool) -> Reply:
    """How the migration stands; nothing if it never ran."""
    document = desk.status()
    if document is None:
        return Reply(status_code=NO_CONTENT)
    return _json((document.brief if brief else document).to_json())


def cutover(desk: Desk, wave: str | None, *, fresh: bool) -> Reply:
    """Where the waves stand, or one of them."""
    return _json(desk.cutover.document(wave, fresh=fresh).to_json())


def classes(store: Store) -> Reply:
    """The offset class of every partition that is recorded."""
    from kmigrate.runner.recorded_classes import RecordedClasses

    return _json(RecordedClasses.of(store).to_json())


def answer(store: Store, method: str, target: str) -> Reply | None:
    """The answer to one of these reads, without an owner; None for any other request."""
    parts = urlsplit(target)
    asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if method != "GET":
        return None
    match parts.path:
        case str(path) if path == CLASSES:
            return classes(store)
        case "/v1/status":
            return status(_desk(store), brief=_is_true(asked, "brief"))
        case "/v1/cutover":
            return cutover(_desk(store), asked.get("wave"), fresh=_is_true(asked, "fresh"))
        case _:
            return None


def _desk(store: Store) -> Desk:
    from kmigrate.runner.desk import Desk

    return Desk(store)


def _is_true(asked: Mapping[str, str], name: str) -> bool:
    return asked.get(name, "false") == "true"


def _json(text: str) -> Reply:
    return Reply(status_code=200, content=text.encode())


def classes_of(folder: MigrationFolder) -> RecordedClasses:
    """The offset classes of the migration in this folder, from its owner or its store; none if it never ran."""
    from kmigrate.runner.recorded_classes import RecordedClasses
    from kmigrate.state.store import Store

    def unowned() -> Reply | None:
        if not Store.exists(folder.path):
            return None
        store = Store.open(folder.path)
        try:
            return classes(store)
        finally:
            store.close()

    reply = Door(folder).ask("GET", CLASSES, None, unowned)
    return RecordedClasses({}) if reply is None else RecordedClasses.from_json(reply.text)
