"""A broker that takes connections and requests, and never answers."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self

from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.kafka_types import Side

_PATIENCE_SECONDS = 30.0


class SilentBroker:
    """Listens on loopback; `accepted` counts connections."""

    def __init__(self) -> None:
        self.accepted = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._asked = threading.Event()
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def client(self, side: Side = Side.SOURCE) -> ClusterClient:
        """A client of it that waits for ten minutes for an answer."""
        settings = ConnectionSettings(client_id="test", request_timeout_ms=600_000)
        return ClusterClient(side, [self._listener.getsockname()], settings)

    def wait_for_a_request(self) -> None:
        """Returns once somebody waits for an answer."""
        assert self._asked.wait(_PATIENCE_SECONDS), "nobody asked"

    def _accept(self) -> None:
        while True:
            try:
                opened, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._open.append(opened)
            if opened.recv(1):
                self._asked.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._open:
            each.close()
        self._thread.join()
