"""A whole copy from every kind of listener to every kind: protocols, mechanisms, certificates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from kmigrate.demo.embedded import EmbeddedCluster
from tests.conftest import SOURCE_VERSION, TARGET_VERSION
from tests.fault.cells import Cell, cells
from tests.fault.harness import Migration, closing_all, log_ends
from tests.kafka_tools import read_all
from tests.secured.certificates import Authority
from tests.secured.cluster import MECHANISMS, MTLS, SIGNED, Security
from tests.secured.pair import Pair
from tests.secured.signing import Signer, allowed
from tests.secured.tokens import TokenEndpoint

pytestmark = pytest.mark.broker

WAYS = (
    ("SASL_PLAINTEXT", "PLAIN"),
    ("SSL", ""),
    ("SASL_SSL", "SCRAM-SHA-256"),
    (SIGNED, "OAUTHBEARER"),
    ("SASL_PLAINTEXT", "SCRAM-SHA-512"),
    ("SASL_SSL", "PLAIN"),
    (MTLS, ""),
    ("SASL_PLAINTEXT", "OAUTHBEARER"),
    ("SASL_SSL", "SCRAM-SHA-512"),
    ("SASL_PLAINTEXT", "SCRAM-SHA-256"),
    ("SASL_SSL", "OAUTHBEARER"),
)
"""Listeners and mechanisms; a sample takes neighbours, which therefore differ."""


class Secured(NamedTuple):
    """Two clusters with every listener, and where tokens come from: those that brokers verify, and the others."""

    pair: Pair
    signing: TokenEndpoint
    plain: TokenEndpoint

    def properties(self, cluster: EmbeddedCluster, listener: str, mechanism: str) -> dict[str, str]:
        told = self.pair.security.client(cluster, listener, mechanism)
        endpoint = self.signing if listener == SIGNED else self.plain
        return told | (endpoint.client("copier") if mechanism == "OAUTHBEARER" else {})


@pytest.fixture(scope="module")
def secured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("protocols")
    failures = request.session.testsfailed
    signer, authority = Signer(folder / "signer"), Authority(folder / "ca")
    pair = Pair(folder, Security(authority=authority, signer=signer), SOURCE_VERSION, TARGET_VERSION)
    try:
        known = {"copier": "token-secret"}
        with TokenEndpoint(authority, known, sign=signer.sign) as signing, TokenEndpoint(authority, known) as plain:
            with allowed(signer):
                pair.start()
            yield Secured(pair, signing, plain)
    finally:
        pair.close(failed=request.session.testsfailed > failures)


@pytest.fixture
def migrate(tmp_path: Path, secured: Secured) -> Iterator[Callable[..., Migration]]:
    made: list[Migration] = []

    def make(topic: str, source: tuple[str, str], target: tuple[str, str]) -> Migration:
        pair = secured.pair
        sides = secured.properties(pair.source, *source), secured.properties(pair.target, *target)
        made.append(pair.migration(tmp_path, topic, *sides))
        return made[-1]

    with closing_all(made):
        yield make


def test_every_mechanism_is_among_the_ways() -> None:
    assert {way for way in WAYS if way[0].startswith("SASL")} == {
        (listener, mechanism) for listener in ("SASL_PLAINTEXT", "SASL_SSL") for mechanism in MECHANISMS
    }


@cells(long=len(WAYS), sample=2)
def test_a_copy_runs_from_every_listener_to_every_listener(
    cell: Cell, secured: Secured, migrate: Callable[..., Migration]
) -> None:
    """A row goes through all ways on both sides."""
    source, target = cell.pick(WAYS), WAYS[(5 * cell.number + 3) % len(WAYS)]
    pair = secured.pair
    topic = pair.fill()
    migration = migrate(topic, source, target)
    migration.start("--until", "in-sync")
    assert migration.wait_for_exit() == 0, migration.evidence()
    assert log_ends(pair.source, [topic]) == log_ends(pair.target, [topic])
    assert read_all(pair.source.bootstrap, topic) == read_all(pair.target.bootstrap, topic)
    warned = "without TLS" in migration.messages()
    assert warned == ("SASL_PLAINTEXT" in (source[0], target[0])), migration.messages()
