"""An application is made when somebody comes, and its thread ends whether anybody came or not."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from kmigrate.api.server import AppServer, Asgi, listen_privately

LIVENESS_SECONDS = 10.0


class Making:
    """Makes an application that answers nothing."""

    def __init__(self) -> None:
        self.made = threading.Event()

    def __call__(self) -> Asgi:
        self.made.set()

        async def answer_nothing(scope: object, receive: object, send: object) -> None:
            pass

        return answer_nothing


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "socket"


def test_the_application_is_made_when_somebody_connects(path: Path) -> None:
    making = Making()
    with AppServer(making, lambda: listen_privately(path)):
        assert not making.made.wait(0.3), "nobody has come"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            assert making.made.wait(LIVENESS_SECONDS)


def test_serving_ends_though_nobody_came(path: Path) -> None:
    making = Making()
    server = AppServer(making, lambda: listen_privately(path), name="nobody came")
    server.start()
    server.stop()
    server.stop()  # once more is fine
    assert not any(each.name == "nobody came" for each in threading.enumerate())
    assert not making.made.is_set()
    assert not path.exists()
