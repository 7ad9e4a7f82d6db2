"""Secrets with unmistakable names are put everywhere one can be, and are looked for everywhere one must not be."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import SOURCE_VERSION, TARGET_VERSION
from tests.fault.harness import Migration, closing_all, wait_until
from tests.kafka_tools import new_topic_name
from tests.secured.certificates import Authority
from tests.secured.cluster import Security, make_users, write_properties
from tests.secured.pair import Pair
from tests.secured.tokens import TokenEndpoint

pytestmark = pytest.mark.broker

IN_ENVIRONMENT = "canary-in-environment-8d1f"
IN_FILE = "canary-in-file-52c0"
IN_JAAS = "canary-in-jaas-77ae"
CANARIES = (IN_ENVIRONMENT, IN_FILE, IN_JAAS)
BEARER = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"


@pytest.fixture
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    failures = request.session.testsfailed
    security = Security(authority=Authority(tmp_path / "ca"), max_reauth_ms=4_000)
    made = Pair(tmp_path, security, SOURCE_VERSION, TARGET_VERSION)
    try:
        made.start()
        yield made
    finally:
        made.close(failed=request.session.testsfailed > failures)


def test_no_secret_is_left_anywhere(pair: Pair, tmp_path: Path) -> None:
    make_users(pair.source, {"env-user": IN_ENVIRONMENT})
    topic = pair.fill(300)
    with TokenEndpoint(Authority(tmp_path / "tokens"), {"copier": IN_JAAS}, seconds=5) as endpoint:
        migration = canary_migration(pair, tmp_path, topic, endpoint)
        told: list[str] = []
        with closing_all([migration]):
            migration.start("--debug")
            migration.wait_in_sync()
            told += look_at_processes(migration)
            migration.kill_worker()
            migration.wait_in_sync()
            for words in ("status", "plan", "report"):
                for arguments in (("-o", "json"), ("--debug",)):
                    told += said(migration.command(words, *arguments))

            # Both sides refuse us from the next session on: all that is told of it, and the next start, with --debug.
            endpoint.secrets["copier"] = "another"
            make_users(pair.source, {"env-user": "another"})
            wait_until("the trouble is told", lambda: "authentication by" in log_of(migration))
            told.append(migration.command("status", "-o", "json").stdout)
            migration.stop()
            told += said(failed := migration.command("run", "--debug"))
            assert failed.returncode == 4
            assert "authentication by SCRAM-SHA-512 failed" in failed.stderr
            assert "Traceback" in failed.stderr
        told.append(migration.messages())
        canaries = [*CANARIES, *endpoint.issued]
    assert len(canaries) > len(CANARIES)
    places = [*enumerate(told), *files_below(migration.state_root)]
    assert sum(topic in content for _, content in places) > 5, "it is looked where something is told"
    for place, content in places:
        for canary in canaries:
            assert canary not in content, (place, canary)


def canary_migration(pair: Pair, folder: Path, topic: str, endpoint: TokenEndpoint) -> Migration:
    """Source: a password from the environment. Target: a client secret as it is, and a key that a file unlocks."""
    (folder / "secret").write_text(f"{IN_FILE}\n")
    mine = pair.security.user_certificate("copier", password=IN_FILE)
    common = pair.security.trust() | {"security.protocol": "SASL_SSL", "request.timeout.ms": "5000"}
    source = common | {
        "bootstrap.servers": pair.source.bootstrap_of("SASL_SSL"),
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.jaas.config": f'{SCRAM} required username="env-user" password="${{env:KAFKA_CANARY}}";',
    }
    target = common | {
        "bootstrap.servers": pair.target.bootstrap_of("SASL_SSL"),
        "sasl.mechanism": "OAUTHBEARER",
        "sasl.jaas.config": f'{BEARER} required clientId="copier" clientSecret="{IN_JAAS}";',
        "sasl.oauthbearer.token.endpoint.url": endpoint.url,
        "https.ca.location": str(folder / "tokens" / "ca.pem"),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(mine.both),
        "ssl.key.password": "${file:secret}",
    }
    write_properties(folder / "source.properties", source)
    write_properties(folder / "target.properties", target)
    spec = {side: {"propertiesFile": f"{side}.properties"} for side in ("source", "target")}
    environment = {"KAFKA_CANARY": IN_ENVIRONMENT}
    return Migration(
        folder, pair.source, pair.target, [topic], name=new_topic_name("canary"), spec=spec, environment=environment
    )


def look_at_processes(migration: Migration) -> list[str]:
    """Command lines of owner and workers; environments without what the operator put there himself."""
    told = []
    for pid in (migration.pid, *migration.worker_pids()):
        told.append(Path(f"/proc/{pid}/cmdline").read_bytes().decode())
        variables = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
        assert f"KAFKA_CANARY={IN_ENVIRONMENT}" in variables
        told += [each for each in variables if not each.startswith("KAFKA_CANARY=")]
    return told


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [done.stdout, done.stderr]


def log_of(migration: Migration) -> str:
    return (migration.state_root / migration.name / "kmigrate.log").read_text(errors="replace")


def files_below(folder: Path) -> Iterator[tuple[str, str]]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield str(path), path.read_bytes().decode("latin-1")
