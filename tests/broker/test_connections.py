"""Secured listeners as kmigrate meets them: signed tokens, sessions that end, certificates that change.

A copy over each of them: tests/fault/test_protocols.py.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kmigrate.errors import AuthenticationFailed, Unreachable
from kmigrate.wire import calls
from tests.conftest import SOURCE_VERSION, TARGET_VERSION
from tests.fault.harness import Migration, closing_all, log_ends
from tests.kafka_tools import SentRecord, produce, read_all
from tests.secured.certificates import Authority
from tests.secured.cluster import MTLS, SIGNED, Security
from tests.secured.pair import Pair, connect
from tests.secured.signing import Signer, allowed
from tests.secured.tokens import TokenEndpoint

pytestmark = pytest.mark.broker

REAUTH_MS = 10_000
TRAFFIC_SECONDS = 2.2 * REAUTH_MS / 1000


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Shared by the tests here: sessions of 10 seconds on both sides."""
    folder = tmp_path_factory.mktemp("secured")
    failures = request.session.testsfailed
    signer = Signer(folder / "tokens")
    made = Pair(
        folder,
        Security(authority=Authority(folder / "ca"), max_reauth_ms=REAUTH_MS, signer=signer),
        SOURCE_VERSION,
        TARGET_VERSION,
    )
    try:
        with allowed(signer):
            made.start()
        yield made
    finally:
        made.close(failed=request.session.testsfailed > failures)


@pytest.fixture
def migrate(tmp_path: Path, pair: Pair) -> Iterator[Callable[..., Migration]]:
    """Makes migrations of one topic over one of the listeners."""
    made: list[Migration] = []

    def make(topic: str, listener: str, mechanism: str = "", **more: str) -> Migration:
        sides = [
            pair.security.client(cluster, listener, mechanism) | {key.replace("_", "."): v for key, v in more.items()}
            for cluster in (pair.source, pair.target)
        ]
        made.append(pair.migration(tmp_path, topic, *sides))
        return made[-1]

    with closing_all(made):
        yield make


def assert_copied(pair: Pair, topic: str) -> None:
    assert log_ends(pair.source, [topic]) == log_ends(pair.target, [topic])
    assert read_all(pair.source.bootstrap, topic) == read_all(pair.target.bootstrap, topic)


def run(pair: Pair, migration: Migration, topic: str) -> None:
    migration.start("--until", "in-sync")
    assert migration.wait_for_exit() == 0, migration.evidence()
    assert_copied(pair, topic)


def test_a_copy_runs_with_tokens_that_brokers_verify(
    pair: Pair, migrate: Callable[..., Migration], tmp_path: Path
) -> None:
    """Both releases read the public key of who signed them; a token of anybody else is refused."""
    signer = pair.security.signer
    assert signer is not None
    authority = Authority(tmp_path / "tokens")
    topic = pair.fill()
    with TokenEndpoint(authority, {"copier": "token-secret"}, sign=signer.sign) as endpoint:
        run(pair, migrate(topic, SIGNED, **endpoint.client("copier")), topic)
        assert endpoint.issued
    strangers = Signer(tmp_path / "stranger").sign
    for wrong in (
        strangers,
        lambda claims: signer.sign(claims | {"aud": "another service"}),
        lambda claims: signer.sign(claims | {"iss": "https://elsewhere.example"}),
        None,  # nobody signed it
    ):
        with TokenEndpoint(authority, {"copier": "token-secret"}, sign=wrong) as endpoint:
            for cluster in (pair.source, pair.target):
                properties = pair.security.client(cluster, SIGNED) | endpoint.client("copier")
                with pytest.raises(AuthenticationFailed, match="by OAUTHBEARER failed: the broker refused"):
                    connect(properties).call(calls.metadata([]))


@contextmanager
def traffic(pair: Pair, topic: str) -> Iterator[None]:
    """Records that go on being written to the source, many a second."""
    ended = threading.Event()

    def write() -> None:
        while not ended.wait(0.05):  # a machine that is busy with other things must keep up, too
            produce(pair.source.bootstrap, topic, (SentRecord(value=b"v" * 500, partition=n % 3) for n in range(300)))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def connections(migration: Migration) -> set[str]:
    """The connections to brokers that owner and workers have open, as the kernel names them."""
    known = {line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]}
    links = [
        os.readlink(each)
        for pid in (migration.pid, *migration.worker_pids())
        for each in Path(f"/proc/{pid}/fd").iterdir()
        if each.is_symlink()
    ]
    return {link for link in links if link.startswith("socket:[") and link[8:-1] in known}


def assert_nothing_stopped(migration: Migration) -> None:
    log = (migration.state_root / migration.name / "kmigrate.log").read_text()
    assert "WARNING" not in log, log
    assert "ERROR" not in log, log
    assert "Traceback" not in log, log


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "OAUTHBEARER"])
def test_sessions_are_renewed_while_records_flow(
    tmp_path: Path, pair: Pair, migrate: Callable[..., Migration], mechanism: str
) -> None:
    topic = pair.fill(300)
    with TokenEndpoint(Authority(tmp_path / "tokens"), {"copier": "token-secret"}, seconds=15) as endpoint:
        more = {}
        if mechanism == "OAUTHBEARER":
            more = {
                "sasl_jaas_config": "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
                'clientId="copier" clientSecret="token-secret" scope="all";',
                "sasl_oauthbearer_token_endpoint_url": endpoint.url,
                "https_ca_location": str(tmp_path / "tokens" / "ca.pem"),
            }
        migration = migrate(topic, "SASL_SSL", mechanism, **more)
        migration.start()
        migration.wait_in_sync()
        before = connections(migration)
        assert len(before) > 4
        with traffic(pair, topic):
            until = time.monotonic() + TRAFFIC_SECONDS
            while time.monotonic() < until:
                migration.wait_for_growth()
        migration.wait_in_sync()
        assert before <= connections(migration), "each connection lives on from session to session"
        assert_nothing_stopped(migration)
        migration.stop()
    assert_copied(pair, topic)
    if mechanism == "OAUTHBEARER":
        assert len(endpoint.asked) > 2
        assert set(endpoint.asked) == {"all"}


def test_a_session_that_is_not_renewed_is_ended_by_the_broker(pair: Pair) -> None:
    """What the renewal is for: without it the connection is gone."""
    link = connect(pair.security.client(pair.source, "SASL_SSL", "PLAIN"))
    call = calls.metadata([])
    link.call(call)
    link._renew_at = None
    time.sleep(REAUTH_MS / 1000 + 0.5)
    with pytest.raises(Exception, match="closed the connection"):
        link.call(calls.metadata([]))


def test_a_session_is_renewed_after_it_has_ended(pair: Pair) -> None:
    link = connect(pair.security.client(pair.source, "SASL_SSL", "PLAIN"))
    time.sleep(REAUTH_MS / 1000 + 0.5)
    assert link.wants_renewal
    assert link.call(calls.metadata([])).cluster_id == pair.source.cluster_id
    assert not link.wants_renewal


def test_a_certificate_that_changes_is_read_by_the_next_connection(tmp_path: Path, pair: Pair) -> None:
    mine = pair.security.user_certificate("copier")
    file = tmp_path / "mine.pem"
    strange = Authority(tmp_path / "strange", "somebody else").issue("copier")
    properties = pair.security.client(pair.source, MTLS) | {"ssl.keystore.location": str(file)}
    shutil.copy(mine.both, file)
    connect(properties).close()
    shutil.copy(strange.both, file)
    with pytest.raises(Unreachable, match="does not accept the client certificate"):
        connect(properties).call(calls.metadata([]))
    shutil.copy(mine.both, file)
    connect(properties).close()


def test_a_locked_key_and_certificates_in_place_open_too(pair: Pair) -> None:
    mine = pair.security.user_certificate("copier", password="key-secret")
    properties = pair.security.client(pair.source, MTLS) | {
        "ssl.keystore.location": str(mine.both),
        "ssl.key.password": "key-secret",
    }
    assert connect(properties).call(calls.metadata([])).cluster_id == pair.source.cluster_id
    plain = pair.security.user_certificate("copier")
    inline = {key: value for key, value in properties.items() if key != "ssl.keystore.location"} | {
        "ssl.keystore.certificate.chain": plain.certificate.read_text().replace("\n", " "),
        "ssl.keystore.key": plain.key.read_text(),
    }
    assert connect(inline).call(calls.metadata([])).cluster_id == pair.source.cluster_id
