"""Client properties become one value of security; what is wrong is told with its line, at once, without a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmigrate.access.security import (
    NO_SECURITY,
    ClientCertificate,
    ClientCredentials,
    Mechanism,
    Password,
    PemFile,
    PemText,
    Sasl,
    Secret,
    Security,
    Tls,
)
from kmigrate.manifest.security_properties import InterpretedSecurity, interpret_security
from kmigrate.manifest.settings import PropertyEntry

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nQUJD\n-----END PRIVATE KEY-----\n"
LOCKED = KEY.replace("PRIVATE", "ENCRYPTED PRIVATE")
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
BEARER = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
URL = "https://login.example/token"


class Properties:
    """Properties whose files lie in a folder of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, content in (
            ("ca.pem", CERTIFICATE),
            ("mine.pem", KEY + CERTIFICATE),
            ("key.pem", KEY),
            ("locked.pem", LOCKED + CERTIFICATE),
            ("store.jks", "\xfe\xed\xfe\xed"),
        ):
            (folder / name).write_text(content, encoding="latin-1")

    def read(self, **values: str) -> InterpretedSecurity:
        entries = {}
        for line, (name, value) in enumerate(values.items(), start=1):
            key = name.replace("__", "-").replace("_", ".").replace("-", "_")
            entries[key] = PropertyEntry(
                key=key, written=value, value=value, secret=False, file="c", line=line, folder=self.folder
            )
        return interpret_security(entries)

    def security(self, **values: str) -> Security:
        found = self.read(**values)
        assert found.problems == ()
        assert found.security is not None
        return found.security

    def told(self, **values: str) -> list[str]:
        found = self.read(**values)
        assert found.security is None
        return [str(problem).replace(f"{self.folder}/", "") for problem in found.problems]

    def pem(self, name: str) -> PemFile:
        return PemFile(self.folder / name)


@pytest.fixture
def properties(tmp_path: Path) -> Properties:
    return Properties(tmp_path)


# -- protocol


def test_plaintext_is_the_default_and_has_no_security(properties: Properties) -> None:
    for values in ({}, {"security_protocol": " plaintext "}):
        assert properties.read(**values) == InterpretedSecurity(security=NO_SECURITY, problems=(), notices=())


def test_keys_that_plaintext_does_not_use_are_named(properties: Properties) -> None:
    found = properties.read(sasl_mechanism="PLAIN", ssl_engine_factory_class="x.Y")
    assert (found.security, found.problems) == (NO_SECURITY, ())
    assert found.notices == (
        "sasl.mechanism, ssl.engine.factory.class: not used, as security.protocol is PLAINTEXT; nothing is encrypted",
    )


def test_an_unknown_protocol_is_told(properties: Properties) -> None:
    assert properties.told(security_protocol="TLS") == [
        "c:1: security.protocol must be one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ssl_engine_factory_class", "x.Y"),
        ("ssl_cipher_suites", "A"),
        ("ssl_crl_location", "a"),
        ("security_providers", "x"),
        ("sasl_client_callback_handler_class", "x.Y"),
        ("sasl_login_callback_handler_class", "x.Y"),
        ("sasl_login_class", "x.Y"),
        ("enable_sasl_oauthbearer_unsecure_jwt", "true"),
    ],
)
def test_what_would_make_other_connections_is_refused(properties: Properties, key: str, value: str) -> None:
    name = key.replace("_", ".")
    assert properties.told(**{"security_protocol": "SSL", key: value}) == [
        f"c:2: {name} is not supported by this version (see docs/connections.md for what is)"
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ssl_protocol", "TLSv1.3"),
        ("ssl_truststore_password", "hunter2"),
        ("sasl_kerberos_service_name", "kafka"),
        ("sasl_login_refresh_window_factor", "0.8"),
        ("enable_sasl_oauthbearer_unsecure_jwt", "false"),
        ("sasl_login_callback_handler_class", "org.apache.kafka.x.OAuthBearerLoginCallbackHandler"),
    ],
)
def test_what_changes_nothing_is_accepted(properties: Properties, key: str, value: str) -> None:
    assert properties.security(**{"security_protocol": "SSL", key: value}) == Security(tls=Tls())


# -- TLS


def test_the_trust_is_this_machines_without_a_store(properties: Properties) -> None:
    assert properties.security(security_protocol="SSL") == Security(tls=Tls())


def test_a_pem_store_is_named_by_its_path(properties: Properties) -> None:
    ca = properties.pem("ca.pem")
    for values in (
        {"ssl_truststore_type": "PEM", "ssl_truststore_location": "ca.pem"},
        {"ssl_ca_location": str(ca.path)},
    ):
        assert properties.security(security_protocol="SSL", **values) == Security(tls=Tls(trust=ca))


def test_certificates_may_stand_in_the_properties(properties: Properties) -> None:
    one_line = CERTIFICATE.replace("\n", " ")
    for key in ("ssl_truststore_certificates", "ssl_ca_pem"):
        found = properties.security(security_protocol="SSL", ssl_truststore_type="pem", **{key: one_line})
        assert found == Security(tls=Tls(trust=PemText(key.replace("_", "."), Secret(CERTIFICATE))))


def test_a_client_certificate_is_read_in_both_spellings(properties: Properties) -> None:
    java = properties.security(
        security_protocol="SSL",
        ssl_keystore_type="PEM",
        ssl_keystore_location="locked.pem",
        ssl_key_password="hunter2",
    )
    mine = ClientCertificate(certificates=properties.pem("locked.pem"), key=None, key_password=Secret("hunter2"))
    assert java == Security(tls=Tls(certificate=mine))
    other = properties.security(security_protocol="SSL", ssl_certificate_location="ca.pem", ssl_key_location="key.pem")
    apart = ClientCertificate(certificates=properties.pem("ca.pem"), key=properties.pem("key.pem"))
    assert other == Security(tls=Tls(certificate=apart))
    inline = properties.security(
        security_protocol="SSL",
        ssl_keystore_type="PEM",
        ssl_keystore_certificate_chain=CERTIFICATE,
        ssl_keystore_key=KEY,
    )
    assert inline.tls is not None
    assert inline.tls.certificate == ClientCertificate(
        certificates=PemText("ssl.keystore.certificate.chain", Secret(CERTIFICATE)),
        key=PemText("ssl.keystore.key", Secret(KEY)),
    )


def test_a_store_that_is_not_pem_comes_with_its_conversion(properties: Properties) -> None:
    assert properties.told(
        security_protocol="SSL",
        ssl_truststore_location="store.jks",
        ssl_keystore_type="PKCS12",
        ssl_keystore_location="store.jks",
    ) == [
        "c:2: ssl.truststore.location: a store of type JKS is not read by this version (convert it: "
        "`keytool -list -rfc -keystore store.jks > store.pem`, then ssl.truststore.type=PEM and "
        "ssl.truststore.location=store.pem)",
        "c:4: ssl.keystore.location: a store of type PKCS12 is not read by this version (convert it: "
        "`openssl pkcs12 -in store.jks -out store.pem`, then ssl.keystore.type=PEM and "
        "ssl.keystore.location=store.pem)",
    ]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (
            {"ssl_truststore_location": "ca.pem"},
            "c:2: ssl.truststore.location: ca.pem holds PEM, and ssl.truststore.type says JKS "
            "(set ssl.truststore.type=PEM)",
        ),
        (
            {"ssl_truststore_certificates": CERTIFICATE},
            "c:2: ssl.truststore.certificates needs ssl.truststore.type=PEM",
        ),
        ({"ssl_ca_location": "nope.pem"}, "c:2: ssl.ca.location: nope.pem cannot be read: No such file or directory"),
        ({"ssl_ca_location": "key.pem"}, "c:2: ssl.ca.location holds no certificate in PEM format"),
        ({"ssl_ca_pem": "hunter2"}, "c:2: ssl.ca.pem holds no certificate in PEM format"),
        (
            {"ssl_certificate_location": "ca.pem"},
            "c:2: ssl.certificate.location has no private key beside it (name it in ssl.key.location)",
        ),
        (
            {"ssl_key_location": "key.pem"},
            "c:2: ssl.key.location has no certificate beside it (name it in ssl.keystore.certificate.chain)",
        ),
        (
            {"ssl_certificate_location": "ca.pem", "ssl_key_location": "ca.pem"},
            "c:3: ssl.key.location holds no private key in PEM format",
        ),
        (
            {"ssl_certificate_location": "ca.pem", "ssl_key_location": "locked.pem"},
            "c:3: ssl.key.location: the private key is encrypted (set ssl.key.password)",
        ),
        (
            {"ssl_endpoint_identification_algorithm": "dns"},
            "c:2: ssl.endpoint.identification.algorithm must be https, or empty "
            "(empty means that host names are not checked)",
        ),
        (
            {"enable_ssl_certificate_verification": "no"},
            "c:2: enable.ssl.certificate.verification must be true or false",
        ),
        (
            {"ssl_enabled_protocols": "TLSv1,SSLv3"},
            "c:2: ssl.enabled.protocols must name one of TLSv1.2, TLSv1.3",
        ),
    ],
)
def test_what_is_wrong_with_tls_is_told(properties: Properties, values: dict[str, str], problem: str) -> None:
    assert properties.told(security_protocol="SSL", **values) == [problem]


def test_unchecked_host_names_and_certificates_are_a_warning(properties: Properties) -> None:
    for value in ("", "none"):
        found = properties.read(security_protocol="SSL", ssl_endpoint_identification_algorithm=value)
        assert found.security == Security(tls=Tls(check_host_name=False))
        assert [notice.split(":")[0] for notice in found.notices] == ["ssl.endpoint.identification.algorithm is empty"]
    found = properties.read(security_protocol="SSL", enable_ssl_certificate_verification="False")
    assert found.security == Security(tls=Tls(check_certificate=False, check_host_name=False))
    assert [notice.split(":")[0] for notice in found.notices] == ["enable.ssl.certificate.verification=false"]


def test_versions_of_tls_can_be_limited(properties: Properties) -> None:
    found = properties.security(security_protocol="SSL", ssl_enabled_protocols="TLSv1.3, TLSv1.1")
    assert found == Security(tls=Tls(versions=("TLSv1.3",)))


# -- SASL


def sasl(found: Security) -> Sasl:
    assert found.sasl is not None
    return found.sasl


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "scram-sha-512"])
def test_a_password_is_read_in_both_spellings(properties: Properties, mechanism: str) -> None:
    module = "a.PlainLoginModule" if mechanism == "PLAIN" else SCRAM
    jaas = f'{module} required username="me" password="hunter2";'
    expected = Sasl(mechanism=Mechanism(mechanism.upper()), credentials=Password(user="me", password=Secret("hunter2")))
    for values in (
        {"sasl_mechanism": mechanism, "sasl_jaas_config": jaas},
        {"sasl_mechanisms": mechanism, "sasl_username": "me", "sasl_password": "hunter2"},
    ):
        assert sasl(properties.security(security_protocol="SASL_SSL", **values)) == expected


def test_the_later_spelling_of_a_password_counts(properties: Properties) -> None:
    jaas = 'PlainLoginModule required username="a" password="1";'
    values = {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN"}
    later = {"sasl_username": "b", "sasl_password": "2"}
    assert sasl(properties.security(**values, sasl_jaas_config=jaas, **later)).credentials == Password(
        user="b", password=Secret("2")
    )
    assert sasl(properties.security(**values, **later, sasl_jaas_config=jaas)).credentials == Password(
        user="a", password=Secret("1")
    )


@pytest.mark.parametrize(
    ("mechanism", "words"),
    [
        ("PLAIN", "PLAIN without TLS: the password goes over the network as it is; use SASL_SSL"),
        (
            "SCRAM-SHA-256",
            "SCRAM-SHA-256 without TLS: whoever listens can try passwords against what is seen, and reads all records; "
            "use SASL_SSL",
        ),
    ],
)
def test_a_password_without_tls_is_a_warning(properties: Properties, mechanism: str, words: str) -> None:
    values = {"sasl_mechanism": mechanism, "sasl_username": "u", "sasl_password": "p"}
    assert properties.read(security_protocol="SASL_PLAINTEXT", **values).notices == (words,)
    assert properties.read(security_protocol="SASL_SSL", **values).notices == ()


@pytest.mark.parametrize(
    ("values", "problems"),
    [
        (
            {},
            [
                "c:1: security.protocol wants SASL, and sasl.mechanism is missing (Java takes GSSAPI then, which is "
                "not supported by this version; supported: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER)"
            ],
        ),
        (
            {"sasl_mechanism": "GSSAPI"},
            [
                "c:2: sasl.mechanism: 'GSSAPI' is not supported by this version "
                "(supported: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER)"
            ],
        ),
        (
            {"sasl_mechanism": "PLAIN"},
            [
                "c:1: the user of PLAIN is missing (set sasl.username, or username in sasl.jaas.config)",
                "c:1: the password of PLAIN is missing (set sasl.password, or password in sasl.jaas.config)",
            ],
        ),
        (
            {"sasl_mechanism": "PLAIN", "sasl_jaas_config": 'a.PlainLoginModule required username="me";'},
            ["c:3: the password of PLAIN is missing (set sasl.password, or password in sasl.jaas.config)"],
        ),
        (
            {"sasl_mechanism": "PLAIN", "sasl_jaas_config": f'{SCRAM} required username="me" password="hunter2";'},
            ["c:3: sasl.jaas.config must name the PlainLoginModule, as the mechanism is PLAIN"],
        ),
        (
            {"sasl_mechanism": "PLAIN", "sasl_jaas_config": 'PlainLoginModule required password="hunter2"'},
            ["c:3: sasl.jaas.config cannot be read: it must end with a semicolon"],
        ),
        (
            {"sasl_mechanism": "SCRAM-SHA-256", "sasl_jaas_config": f'{SCRAM} required tokenauth="true";'},
            ["c:3: sasl.jaas.config: delegation tokens (tokenauth) are not supported by this version"],
        ),
        (
            {"sasl_mechanism": "OAUTHBEARER"},
            [
                "c:1: the client id of OAUTHBEARER is missing (set sasl.oauthbearer.client.credentials.client.id, "
                "or clientId in sasl.jaas.config)",
                "c:1: the client secret of OAUTHBEARER is missing (set "
                "sasl.oauthbearer.client.credentials.client.secret, or clientSecret in sasl.jaas.config)",
                "c:1: OAUTHBEARER needs sasl.oauthbearer.token.endpoint.url "
                "(tokens come by client credentials, over https)",
            ],
        ),
        *(
            (
                {
                    "sasl_mechanism": "OAUTHBEARER",
                    "sasl_oauthbearer_client_id": "i",
                    "sasl_oauthbearer_client_secret": "hunter2",
                    "sasl_oauthbearer_token_endpoint_url": url,
                },
                [
                    "c:5: sasl.oauthbearer.token.endpoint.url must be an https URL "
                    "(anything else would send the client's secret readable)"
                ],
            )
            for url in ("http://login.example/token", "login.example", "https://u:hunter2@x/", "file:///tmp/token")
        ),
    ],
)
def test_what_is_wrong_with_sasl_is_told_without_a_secret(
    properties: Properties, values: dict[str, str], problems: list[str]
) -> None:
    found = properties.told(security_protocol="SASL_SSL", **values)
    assert found == problems
    assert "hunter2" not in str(found)


def test_client_credentials_are_read_in_all_spellings(properties: Properties) -> None:
    jaas = f'{BEARER} required clientId="me" clientSecret="hunter2" scope="all" extension_logicalCluster="lkc-1";'
    common = {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "OAUTHBEARER",
        "sasl_oauthbearer_token_endpoint_url": URL,
    }
    expected = ClientCredentials(
        url=URL,
        client_id="me",
        client_secret=Secret("hunter2"),
        scope="all",
        extensions=(("logicalCluster", "lkc-1"),),
    )
    for values in (
        {"sasl_jaas_config": jaas},
        {
            "sasl_oauthbearer_client_credentials_client_id": "me",
            "sasl_oauthbearer_client_credentials_client_secret": "hunter2",
            "sasl_oauthbearer_scope": "all",
            "sasl_jaas_config": f'{BEARER} required extension_logicalCluster="lkc-1";',
        },
        {
            "sasl_oauthbearer_method": "oidc",
            "sasl_oauthbearer_client_id": "me",
            "sasl_oauthbearer_client_secret": "hunter2",
            "sasl_oauthbearer_scope": "all",
            "sasl_oauthbearer_extensions": "logicalCluster=lkc-1",
        },
    ):
        assert sasl(properties.security(**common, **values)).credentials == expected


def test_the_token_endpoint_has_a_trust_of_its_own(properties: Properties) -> None:
    common = {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "OAUTHBEARER",
        "sasl_oauthbearer_token_endpoint_url": URL,
        "sasl_oauthbearer_client_id": "i",
        "sasl_oauthbearer_client_secret": "s",
    }
    for values in (
        {"https_ca_location": "ca.pem"},
        {"sasl_jaas_config": f'{BEARER} required ssl.truststore.type="PEM" ssl.truststore.location="ca.pem";'},
    ):
        credentials = sasl(properties.security(**common, **values)).credentials
        assert isinstance(credentials, ClientCredentials)
        assert credentials.trust == properties.pem("ca.pem")


def test_a_reference_that_leads_nowhere_is_told_once(properties: Properties) -> None:
    entries = {
        key: PropertyEntry(key=key, written=value, value=value, secret=False, file="c", line=1)
        for key, value in (("security.protocol", "SASL_SSL"), ("sasl.mechanism", "PLAIN"), ("sasl.username", "u"))
    }
    found = interpret_security(entries, unresolved=["sasl.password"])
    assert (found.security, found.problems) == (Security(tls=Tls(), sasl=None), ())
