"""The whole exception tree.

::

    KmigrateError                 exit 1   something failed; carries a hint
    ├── ManifestError             exit 2   the manifest is wrong: every problem with its line
    ├── UsageError                exit 2   the command line is wrong
    ├── Blocked                   exit 4   a check found something that must be mended before the first write
    │   └── ClustersAway          exit 4   all it found is that a cluster, or one of its brokers, does not answer
    ├── GateNotReached            exit 5   a gate or a time limit was not reached
    ├── Refused                   exit 6   wrong cluster, drift, another copier runs
    │   └── Superseded            exit 6   the lease is held by somebody else now
    ├── CutOff                    exit 1   what was being done is no longer wanted, and was not waited for
    └── ClusterError              exit 1   talking to a cluster went wrong; names the cluster and the broker
        ├── Unreachable                    no connection: DNS, refused, time-out, TLS; retried while running
        │   └── AuthenticationFailed       the broker does not take our credentials, or there are none
        ├── ConnectionLost                 the connection broke: what was under way has an unknown outcome
        │   └── NoAnswer                   an answer did not come within the request time-out
        ├── BrokerRefused                  the broker answered with an error code
        └── ProtocolError                  an answer that cannot be what was asked for

Expected outcomes are values, not exceptions: a stopped partition is a `Stop`, not an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kmigrate.kafka_types import Side


class KmigrateError(Exception):
    """The root: says what happened and, as `hint`, what to do about it."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong in a manifest or in a file it names."""

    file: str
    line: int | None
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.message}" + (f" ({self.hint})" if self.hint else "")


class ManifestError(KmigrateError):
    """All problems of a manifest at once."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class UsageError(KmigrateError):
    """The command line asks for something that does not exist or cannot be done."""

    exit_code = 2


class Blocked(KmigrateError):
    """A check found a blocker; nothing has been written."""

    exit_code = 4


class ClustersAway(Blocked):
    """A cluster or one of its brokers does not answer, which may pass by itself; nothing has been written."""


class GateNotReached(KmigrateError):
    """A gate or a time limit was not reached."""

    exit_code = 5


class Refused(KmigrateError):
    """The wrong cluster, a drift, or another owner."""

    exit_code = 6


class Superseded(Refused):
    """Another owner holds the lease of this migration, or held it since we did."""


class CutOff(KmigrateError):
    """What was being done is no longer wanted; a request that was sent may still be carried out."""


class ClusterError(KmigrateError):
    """Talking to a cluster went wrong."""

    def __init__(self, message: str, *, side: Side, broker: str = "", hint: str = "") -> None:
        where = f"{side} cluster" + (f", broker {broker}" if broker else "")
        super().__init__(f"{where}: {message}", hint=hint)
        self.side = side
        self.broker = broker
        self.reason = message


class Unreachable(ClusterError):
    """No connection could be made; nothing was sent."""


class AuthenticationFailed(Unreachable):
    """A broker does not take us for who we say we are; nothing but that was sent."""

    def __init__(self, reason: str, *, mechanism: str, side: Side, broker: str = "", hint: str = "") -> None:
        super().__init__(f"authentication by {mechanism} failed: {reason}", side=side, broker=broker, hint=hint)
        self.mechanism = mechanism


class ConnectionLost(ClusterError):
    """The connection broke or an answer did not come in time; the outcome of what was sent is unknown."""


class NoAnswer(ConnectionLost):
    """An answer did not come within the request time-out, so that the connection was given up."""


class BrokerRefused(ClusterError):
    """A broker answered a request with an error code.

    `code` is Kafka's numeric error code, `name` its name.
    """

    def __init__(self, what: str, *, code: int, name: str, side: Side, broker: str = "", hint: str = "") -> None:
        super().__init__(f"{what}: {name} ({code})", side=side, broker=broker, hint=hint)
        self.code = code
        self.name = name


class ProtocolError(ClusterError):
    """An answer cannot be understood or is not what was asked for."""
