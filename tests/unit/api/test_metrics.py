"""Metrics are served on this machine, as they stand when they are asked for, and to nobody else."""

from __future__ import annotations

import httpx
import pytest

from kmigrate.api.loopback import parse_address
from kmigrate.api.metrics import MetricsServer, families_of
from kmigrate.errors import KmigrateError, UsageError
from kmigrate.runner.status import MigrationState, StatusDocument


def test_they_are_those_of_the_moment() -> None:
    seen: list[StatusDocument | None] = [None]
    with MetricsServer("127.0.0.1:0", lambda: families_of(lambda: seen[0])) as server:
        url = f"http://127.0.0.1:{server.port}/metrics"
        assert httpx.get(url).text == ""
        seen[0] = StatusDocument(name="orders", state=MigrationState.PAUSED)
        answer = httpx.get(url)
        assert answer.headers["content-type"].startswith("text/plain")
        assert 'kmigrate_migration_state{migration="orders",state="PAUSED"} 1.0' in answer.text
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_a_port_that_is_taken_is_named() -> None:
    server = MetricsServer("localhost:0", lambda: families_of(lambda: None))
    with server, pytest.raises(KmigrateError, match=f"cannot serve metrics on 127.0.0.1:{server.port}"):
        MetricsServer(f"127.0.0.1:{server.port}", lambda: families_of(lambda: None))


@pytest.mark.parametrize("address", ["0.0.0.0:9404", "10.0.0.7:9404", "[::]:9404", "kafka.example:9404"])
def test_only_this_machine_is_served(address: str) -> None:
    with pytest.raises(UsageError, match="loopback"):
        parse_address(address)


@pytest.mark.parametrize("address", ["9404", ":9404", "127.0.0.1:", "127.0.0.1:70000", "127.0.0.1:x", ""])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="is no address"):
        parse_address(address)


def test_addresses_of_this_machine() -> None:
    assert parse_address("127.0.0.1:9404") == ("127.0.0.1", 9404)
    assert parse_address("localhost:0") == ("localhost", 0)
    assert parse_address("[::1]:9404") == ("::1", 9404)
