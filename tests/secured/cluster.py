"""What makes an embedded cluster a secured one: its listeners, users, certificates and access rules.

::

    cluster = start_cluster("3.9.1", security=Security(Authority(tmp_path / "ca")))
    cluster.bootstrap_of("SASL_SSL")     # TLS, and a user with a password or a token
    cluster.bootstrap                    # plaintext: User:ANONYMOUS, who may do everything

Beside the plaintext listeners (clients without a secret, brokers, controllers) every broker has one for each of
PROTOCOLS, named like its protocol, and one that wants a client certificate (`MTLS`). With a `signer` there is one more
(`SIGNED`), which takes only tokens that it signed; its file must be `allowed` when brokers start. Passwords are
PASSWORDS; SCRAM users are made by `make_users` when the cluster runs. With `authorizer` only SUPER_USERS may do
anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from kmigrate.demo.embedded import EmbeddedCluster
from tests.kafka_tools import TIMEOUT_SECONDS
from tests.secured.certificates import LOOPBACK, Authority, KeyPair
from tests.secured.signing import AUDIENCE, ISSUER, Signer

PROTOCOLS = ("SSL", "SASL_PLAINTEXT", "SASL_SSL")
MTLS = "MTLS"
SIGNED = "SIGNED"
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
PASSWORDS = {"admin": "admin-secret", "copier": "copier-secret", "app": "app-secret"}
"""Known to PLAIN as they are, and to both SCRAM mechanisms once `make_users` ran."""
SUPER_USERS = ("User:admin", "User:ANONYMOUS")

_MODULES = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "OAUTHBEARER": "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule",
}
_VALIDATOR = "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler"


@dataclass(kw_only=True)
class Security:
    """How a cluster is secured; `properties`, `listeners` and `hosts` are what EmbeddedCluster takes.

    `names` are those in the brokers' certificate, `host` is what the TLS listeners advertise (it need not resolve:
    an address map leads there). `max_reauth_ms` limits sessions. `wanted_from` signs client certificates.
    """

    authority: Authority
    wanted_from: Authority | None = None
    names: tuple[str, ...] = LOOPBACK
    host: str | None = None
    expired: bool = False
    authorizer: bool = False
    max_reauth_ms: int | None = None
    signer: Signer | None = None
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def listeners(self) -> dict[str, str]:
        signed = {} if self.signer is None else {SIGNED: "SASL_SSL"}
        return {**dict(zip(PROTOCOLS, PROTOCOLS, strict=True)), MTLS: "SSL"} | signed

    @property
    def hosts(self) -> dict[str, str]:
        return {} if self.host is None else dict.fromkeys(("SSL", "SASL_SSL", MTLS, SIGNED), self.host)

    def properties(self, version: str) -> dict[str, str]:
        """Kafka's own, for every node of this release."""
        pair = self.authority.issue("broker", names=self.names, expired=self.expired)
        told = {
            "ssl.keystore.type": "PEM",  # in place, as 2.8 takes no file whose key is not locked
            "ssl.keystore.certificate.chain": _one_line(pair.certificate),
            "ssl.keystore.key": _one_line(pair.key),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str((self.wanted_from or self.authority).certificate),
            f"listener.name.{MTLS.lower()}.ssl.client.auth": "required",
            f"listener.name.{MTLS.lower()}.ssl.principal.mapping.rules": "RULE:^.*CN=([^,]*).*$/$1/,DEFAULT",
            "sasl.enabled.mechanisms": ",".join(MECHANISMS),
        }
        for listener in ("SASL_PLAINTEXT", "SASL_SSL"):
            for mechanism in MECHANISMS:
                place = f"listener.name.{listener.lower()}.{mechanism.lower()}"
                told[f"{place}.sasl.jaas.config"] = f"{_MODULES[mechanism]} required{_options(mechanism)};"
                if self.max_reauth_ms is not None:
                    told[f"{place}.connections.max.reauth.ms"] = str(self.max_reauth_ms)
        if self.signer is not None:
            place = f"listener.name.{SIGNED.lower()}"
            told[f"{place}.sasl.enabled.mechanisms"] = "OAUTHBEARER"
            told |= {
                f"{place}.oauthbearer.sasl.{key}": value
                for key, value in {
                    "jaas.config": f"{_MODULES['OAUTHBEARER']} required;",
                    "server.callback.handler.class": _VALIDATOR,
                    "oauthbearer.jwks.endpoint.url": self.signer.jwks_url,
                    "oauthbearer.expected.audience": AUDIENCE,
                    "oauthbearer.expected.issuer": ISSUER,
                }.items()
            }
        if self.authorizer:
            zookeeper = tuple(map(int, version.split(".")[:2])) < (3, 3)
            told |= {
                "authorizer.class.name": "kafka.security.authorizer.AclAuthorizer"
                if zookeeper
                else "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "allow.everyone.if.no.acl.found": "false",
                "super.users": ";".join(SUPER_USERS),
            }
        return told | dict(self.more)

    @staticmethod
    def key_store(pair: KeyPair) -> dict[str, str]:
        return {"ssl.keystore.type": "PEM", "ssl.keystore.location": str(pair.both)}

    def trust(self) -> dict[str, str]:
        """What a client needs to trust the brokers."""
        return {"ssl.truststore.type": "PEM", "ssl.truststore.location": str(self.authority.certificate)}

    def client(
        self, cluster: EmbeddedCluster, listener: str, mechanism: str = "", user: str = "copier"
    ) -> dict[str, str]:
        """A Java client's properties for one of the listeners; where tokens come from is the endpoint's to say."""
        told = {"bootstrap.servers": cluster.bootstrap_of(listener), "security.protocol": listener}
        if listener == MTLS:
            told |= {"security.protocol": "SSL", **self.key_store(self.user_certificate(user))}
        if listener == SIGNED:
            told["security.protocol"] = "SASL_SSL"
        if "SSL" in told["security.protocol"]:
            told |= self.trust()
        if mechanism:
            told["sasl.mechanism"] = mechanism
        if mechanism and mechanism != "OAUTHBEARER":
            told |= {
                "sasl.jaas.config": f'{_MODULES[mechanism]} required username="{user}" password="{PASSWORDS[user]}";',
            }
        return told

    def user_certificate(self, user: str, password: str | None = None) -> KeyPair:
        """A client certificate for this user; each call makes another one in the same place."""
        return (self.wanted_from or self.authority).issue(user, password=password)


def make_users(cluster: EmbeddedCluster, passwords: Mapping[str, str] = PASSWORDS) -> None:
    """The SCRAM credentials of these users, in both mechanisms."""
    admin = AdminClient({"bootstrap.servers": cluster.direct_bootstrap})
    for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):  # a request takes a user once
        wanted = [
            UserScramCredentialUpsertion(user, ScramCredentialInfo(mechanism, 4096), password.encode())
            for user, password in passwords.items()
        ]
        for each in admin.alter_user_scram_credentials(wanted).values():
            each.result(TIMEOUT_SECONDS)


def app_client(cluster: EmbeddedCluster) -> dict[str, Any]:
    """What a client of librdkafka needs to be the user `app`, who is no super user."""
    return {
        "bootstrap.servers": cluster.bootstrap_of("SASL_PLAINTEXT"),
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "app",
        "sasl.password": PASSWORDS["app"],
    }


def _options(mechanism: str) -> str:
    if mechanism == "PLAIN":
        return "".join(f' user_{user}="{password}"' for user, password in PASSWORDS.items())
    # Without a validator of its own a broker believes tokens that nobody signed.
    return ' unsecuredLoginStringClaim_sub="admin"' if mechanism == "OAUTHBEARER" else ""


def _one_line(pem: Path) -> str:
    """As a value in a file of properties."""
    return "\\n".join(pem.read_text().splitlines())


def write_properties(path: Path, properties: Mapping[str, str]) -> Path:
    """A client.properties of these."""
    path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
    return path
