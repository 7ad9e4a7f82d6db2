"""What is said when a secured listener cannot be used: each message names the broker, the reason and a way out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from kmigrate.demo.ports import find_free_ports
from kmigrate.errors import AuthenticationFailed, ConnectionLost, Unreachable
from kmigrate.wire import calls
from tests.conftest import SOURCE_VERSION, TARGET_VERSION
from tests.fault.harness import Migration, closing_all, log_ends
from tests.kafka_tools import new_topic_name
from tests.secured.certificates import Authority
from tests.secured.cluster import MTLS, Security
from tests.secured.pair import Pair, connect
from tests.secured.tokens import TokenEndpoint

pytestmark = pytest.mark.broker

EXPIRED = "EXPIRED"
HOST = "broker-1.example"
NAMES = ("DNS:broker-1.example", "DNS:localhost")


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Brokers whose certificate has other names than their address, and a listener with an expired one."""
    folder = tmp_path_factory.mktemp("secured")
    failures = request.session.testsfailed
    authority = Authority(folder / "ca")
    expired = authority.issue("expired", names=NAMES, expired=True)
    place = f"listener.name.{EXPIRED.lower()}.ssl.keystore"
    more = {
        f"{place}.certificate.chain": "\\n".join(expired.certificate.read_text().splitlines()),
        f"{place}.key": "\\n".join(expired.key.read_text().splitlines()),
    }
    made = Pair(
        folder,
        Security(authority=authority, names=NAMES, host=HOST, more=more),
        SOURCE_VERSION,
        TARGET_VERSION,
        **{EXPIRED: "SSL"},
    )
    try:
        made.start()
        yield made
    finally:
        made.close(failed=request.session.testsfailed > failures)


@pytest.fixture(params=["source", "target"])
def failure(request: pytest.FixtureRequest, pair: Pair) -> Callable[..., tuple[str, str]]:
    """What using a listener with these properties says, and the way out; both releases are met."""
    cluster = pair.source if request.param == "source" else pair.target

    def fail(listener: str, properties: Mapping[str, str], host: str = "localhost") -> tuple[str, str]:
        bootstrap = cluster.bootstrap if listener == "PLAINTEXT" else cluster.bootstrap_of(listener)
        with pytest.raises((Unreachable, ConnectionLost)) as caught:
            connect({**properties, "bootstrap.servers": bootstrap}, host=host).call(calls.metadata([]))
        where = f"source cluster, broker {host}:{bootstrap.rpartition(':')[2]} (id 1): "
        assert str(caught.value).startswith(where)
        assert isinstance(caught.value, AuthenticationFailed) == ("authentication by" in str(caught.value))
        return str(caught.value).removeprefix(where).replace(f"{pair.folder}/", ""), caught.value.hint

    return fail


Failure = Callable[..., tuple[str, str]]

OF_THE_LISTENER = "security.protocol must be that of the listener"
REFUSED_PASSWORD = {
    "PLAIN": "Authentication failed: Invalid username or password",
    "SCRAM-SHA-256": "Authentication failed during authentication due to invalid credentials "
    "with SASL mechanism SCRAM-SHA-256",
}


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
@pytest.mark.parametrize(("user", "password"), [("copier", "wrong"), ("nobody", "copier-secret")])
def test_a_wrong_user_or_password(failure: Failure, pair: Pair, mechanism: str, user: str, password: str) -> None:
    properties = pair.security.client(pair.source, "SASL_SSL", mechanism)
    jaas = properties["sasl.jaas.config"].replace('"copier"', f'"{user}"').replace("copier-secret", password)
    words, hint = failure("SASL_SSL", {**properties, "sasl.jaas.config": jaas})
    assert words == f"authentication by {mechanism} failed: the broker refused: {REFUSED_PASSWORD[mechanism]}"
    assert hint == (
        "check user and password; for SCRAM the user must exist on this cluster, in this mechanism: "
        "kafka-configs --describe --entity-type users"
    )


def test_an_authority_that_is_not_trusted(failure: Failure, pair: Pair, tmp_path: Path) -> None:
    trust = {"ssl.truststore.location": str(Authority(tmp_path, "somebody else").certificate)}
    assert failure("SSL", {"security.protocol": "SSL", **pair.security.trust(), **trust}) == (
        "the broker's certificate is not signed by an authority that is trusted here "
        "(unable to get local issuer certificate)",
        "name the authority's certificate in ssl.truststore.location, with ssl.truststore.type=PEM",
    )


def test_a_certificate_of_somebody_else(failure: Failure, pair: Pair) -> None:
    properties = {"security.protocol": "SSL", **pair.security.trust()}
    assert failure("SSL", properties, host="127.0.0.1") == (
        "the broker's certificate is for broker-1.example, localhost, and not for '127.0.0.1', "
        "the name by which it is reached",
        "the broker must advertise a name of its certificate; with addressMap, too, the advertised name counts",
    )


def test_an_expired_certificate(failure: Failure, pair: Pair) -> None:
    assert failure(EXPIRED, {"security.protocol": "SSL", **pair.security.trust()}) == (
        "the broker's certificate has expired",
        "give the broker a new one",
    )


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_a_client_certificate_that_is_missing_or_strange(
    failure: Failure, pair: Pair, tmp_path: Path, version: str
) -> None:
    properties = {"security.protocol": "SSL", "ssl.enabled.protocols": version, **pair.security.trust()}
    words, _ = failure(MTLS, properties)
    assert words == "the broker wants a client certificate, and none is set (sslv3 alert bad certificate)"
    strange = Authority(tmp_path, "somebody else").issue("copier").both
    words, _ = failure(MTLS, properties | {"ssl.keystore.type": "PEM", "ssl.keystore.location": str(strange)})
    assert words == (f"the broker does not accept the client certificate {strange} (sslv3 alert certificate unknown)")


def test_a_protocol_that_is_not_the_listeners(failure: Failure, pair: Pair) -> None:
    plaintext = {"security.protocol": "PLAINTEXT"}
    ssl = {"security.protocol": "SSL", **pair.security.trust()}
    sasl_ssl = pair.security.client(pair.source, "SASL_SSL", "PLAIN")
    sasl_plaintext = {**sasl_ssl, "security.protocol": "SASL_PLAINTEXT"}
    no_tls = "the broker ended the TLS handshake (it closed the connection)"
    for listener in ("PLAINTEXT", "SASL_PLAINTEXT"):
        assert failure(listener, ssl) == (no_tls, f"perhaps this listener speaks PLAINTEXT: {OF_THE_LISTENER}")
    for listener, properties in (("SSL", plaintext), ("SASL_SSL", sasl_plaintext)):
        assert failure(listener, properties) == (
            "the broker answers in TLS",
            f"the broker's log says more; {OF_THE_LISTENER}",
        )
    for listener, properties in (("SASL_PLAINTEXT", plaintext), ("SASL_SSL", ssl)):
        words, _ = failure(listener, properties)
        assert words == "the broker closed the connection at the first request: perhaps this listener wants SASL"
    for listener, properties in (("PLAINTEXT", sasl_plaintext), ("SSL", sasl_ssl)):
        assert failure(listener, properties) == (
            "authentication by PLAIN failed: this listener wants no SASL",
            f"{OF_THE_LISTENER}: PLAINTEXT or SSL",
        )


def test_a_token_endpoint_that_refuses_or_is_not_trusted(failure: Failure, pair: Pair, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tokens")
    with TokenEndpoint(authority, {"copier": "right"}) as endpoint:
        bearer = {
            "security.protocol": "SASL_SSL",
            **pair.security.trust(),
            "sasl.mechanism": "OAUTHBEARER",
            "sasl.oauthbearer.token.endpoint.url": endpoint.url,
            "sasl.oauthbearer.client.id": "copier",
            "sasl.oauthbearer.client.secret": "wrong",
        }
        hint = "check client id, client secret, scope and sasl.oauthbearer.token.endpoint.url"
        assert failure("SASL_SSL", {**bearer, "https.ca.location": str(authority.certificate)}) == (
            f"authentication by OAUTHBEARER failed: no token: {endpoint.url} answers 401: invalid_client",
            hint,
        )
        words, _ = failure("SASL_SSL", bearer)
        assert words == (
            f"authentication by OAUTHBEARER failed: no token: {endpoint.url} does not answer: "
            "its certificate is not trusted (unable to get local issuer certificate)"
        )
        expired = TokenEndpoint(authority, {"copier": "right"}, seconds=-100)
    with expired:
        words, _ = failure(
            "SASL_SSL",
            {
                **bearer,
                "https.ca.location": str(authority.certificate),
                "sasl.oauthbearer.token.endpoint.url": expired.url,
                "sasl.oauthbearer.client.secret": "right",
            },
        )
        assert words.startswith("authentication by OAUTHBEARER failed: the broker refused"), words


# -- addresses


def test_a_mapped_broker_that_cannot_be_reached_is_named_by_both_addresses(pair: Pair) -> None:
    properties = pair.security.client(pair.source, "SSL")
    closed = find_free_ports(1)[0]
    with pytest.raises(Unreachable) as caught:
        connect(properties, host=HOST, port=9094, address_map={(HOST, 9094): ("127.0.0.1", closed)})
    assert str(caught.value) == (
        f"source cluster, broker {HOST}:9094 (id 1): connection refused (at 127.0.0.1:{closed}, by addressMap)"
    )
    assert caught.value.hint == "addressMap must lead to an address that is reachable from this machine"


def test_a_copy_finds_brokers_by_the_address_map(pair: Pair, tmp_path: Path) -> None:
    """The brokers advertise a name that nobody can resolve, and their certificates are for that name alone."""
    topic = pair.fill()
    sides = {}
    for side, cluster in (("source", pair.source), ("target", pair.target)):
        port = cluster.port(1, "SASL_SSL")
        properties = pair.security.client(cluster, "SASL_SSL", "SCRAM-SHA-256")
        sides[side] = {
            "properties": properties | {"bootstrap.servers": f"{HOST}:{port}", "request.timeout.ms": "5000"},
            "addressMap": {f"{HOST}:{port}": f"127.0.0.1:{port}"},
        }
    migration = Migration(tmp_path, pair.source, pair.target, [topic], name=new_topic_name("mapped"), spec=sides)
    with closing_all([migration]):
        migration.start("--until", "in-sync")
        assert migration.wait_for_exit() == 0, migration.evidence()
    assert log_ends(pair.source, [topic]) == log_ends(pair.target, [topic])
