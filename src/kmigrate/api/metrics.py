"""Serves the metrics of one migration, or of all that serve holds, on a port of this machine, from threads of its own.

Rule: only loopback addresses. Whoever lets others read them puts a proxy of his own in front.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from kmigrate.api.loopback import parse_address
from kmigrate.api.overview import read_statuses
from kmigrate.errors import KmigrateError
from kmigrate.report.metrics import metric_families, service_families
from kmigrate.runner.folder import list_migrations
from kmigrate.runner.status import StatusDocument
from kmigrate.serve.supervisor import Supervisor

STOP_SECONDS = 2.0


class _Collector(Collector):
    """Asks for how things stand each time somebody reads."""

    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families()

    def describe(self) -> Iterator[Metric]:
        """Nothing beforehand: a document may not be there yet."""
        return iter(())


def families_of(status: Callable[[], StatusDocument | None]) -> Iterator[Metric]:
    """The metrics of one migration; none before anything is known of it."""
    document = status()
    if document is not None:
        yield from metric_families(document)


def families_of_all(supervisor: Supervisor) -> Iterator[Metric]:
    """The metrics of every migration whose owner answers, and what serve does about those that it holds."""
    root, holdings = supervisor.roster.root, supervisor.holdings()
    names = sorted({*holdings, *list_migrations(root)})
    yield from metric_families(*read_statuses(root, names))
    yield from service_families((name, each.phase, each.restarts) for name, each in holdings.items())


class MetricsServer:
    """Answers GET /metrics from the moment it is made until `stop`; a context manager."""

    def __init__(self, address: str, families: Callable[[], Iterable[Metric]]) -> None:
        """`address` is host:port; raises UsageError if it is not of this machine, KmigrateError if it is taken."""
        host, port = parse_address(address)
        registry = CollectorRegistry()
        registry.register(_Collector(families))
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise KmigrateError(
                f"cannot serve metrics on {address}: {error.strerror}", hint="choose another port for --metrics"
            ) from error

    @property
    def port(self) -> int:
        """The port that is listened on, where 0 was asked for."""
        return self._server.server_port

    def stop(self) -> None:
        """Ends serving within moments."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(STOP_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
