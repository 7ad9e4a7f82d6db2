"""Types the commands of a move one behind the other, and keeps what they print.

Source and target want SASL over TLS; kmigrate is `copier`, who is no super user and has the rights of docs/rights.md
for the two topics and the two groups. What differs from machine to machine is renamed: addresses of brokers, and the
folder of state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from kmigrate.kafka_types import Side
from tests.kafka_tools import TIMEOUT_SECONDS, SentRecord, create_topic, produce, write_transaction
from tests.scenario.typed import Step, Terminal
from tests.secured.cluster import PASSWORDS
from tests.secured.granted import COPIER, Guarded, Subjects

NAME = "shop"
ORDERS, PAYMENTS = "orders", "payments"
COMMITS = {"orders-app": {(ORDERS, 0): 40, (ORDERS, 1): 50, (ORDERS, 2): 7}, "billing": {(PAYMENTS, 0): 21}}
"""Group → partition → offset."""
SUBJECTS = Subjects((ORDERS, PAYMENTS), tuple(COMMITS), NAME)
PASSWORD = "COPIER_PASSWORD"
COMMANDS = (
    f"kmigrate init old.properties new.properties -o {NAME}.yaml",
    f"kmigrate check -f {NAME}.yaml",
    f"kmigrate plan -f {NAME}.yaml",
    f"kmigrate apply -f {NAME}.yaml --yes",
    f"kmigrate run -f {NAME}.yaml --until in-sync",
    f"kmigrate group list -f {NAME}.yaml",
)


def walk(guarded: Guarded, folder: Path) -> list[Step]:
    """Fills the source, and goes the whole way; a step that fails is the last one."""
    _fill(guarded)
    guarded.grant_for(SUBJECTS)
    for side, name in ((Side.SOURCE, "old"), (Side.TARGET, "new")):
        (folder / f"{name}.properties").write_text(properties(guarded, side))
    certificate = guarded.pair.security.authority.certificate
    (folder / "ca.pem").write_text(certificate.read_text())
    typing = terminal(guarded, folder)
    steps: list[Step] = []
    for command in COMMANDS:
        steps.append(typing.type(command))
        if steps[-1].code:
            break
    return steps


def properties(guarded: Guarded, side: Side) -> str:
    """The file that says how a cluster is reached; the password comes from the environment."""
    told = guarded.properties(side) | {"ssl.truststore.location": "ca.pem"}
    text = "".join(f"{key}={value}\n" for key, value in told.items())
    return text.replace(PASSWORDS[COPIER], f"${{env:{PASSWORD}}}")


def terminal(guarded: Guarded, folder: Path) -> Terminal:
    """A terminal of who has the password."""
    return Terminal(folder, renames(guarded), {PASSWORD: PASSWORDS[COPIER]})


def renames(guarded: Guarded) -> dict[str, str]:
    """Addresses of brokers as they might be elsewhere."""
    return {guarded.bootstrap(side): f"{side}-1.example:9093" for side in Side}


def _fill(guarded: Guarded) -> None:
    """Two topics, one of them written in transactions, with groups that have read a part, and their rules."""
    source = guarded.clusters[Side.SOURCE].direct_bootstrap
    create_topic(source, ORDERS, partitions=3, config={"retention.ms": "1209600000"})
    produce(source, ORDERS, [SentRecord(value=b"order %d" % number, partition=number % 3) for number in range(150)])
    create_topic(source, PAYMENTS)
    for number in range(10):
        paid = [b"payment %d" % (2 * number + each) for each in range(2)]
        write_transaction(source, PAYMENTS, paid, commit=number % 4 != 3)
    for group, offsets in COMMITS.items():
        consumer = Consumer({"bootstrap.servers": source, "group.id": group})
        wanted = [TopicPartition(*place, offset) for place, offset in offsets.items()]
        assert all(each.error is None for each in consumer.commit(offsets=wanted, asynchronous=False))
        consumer.close()
    _allow(source, "User:app", {ORDERS: AclOperation.READ, PAYMENTS: AclOperation.WRITE}, groups=["orders-app"])


def _allow(bootstrap: str, principal: str, topics: Mapping[str, AclOperation], groups: Sequence[str]) -> None:
    rules = [(ResourceType.TOPIC, name, operation) for name, operation in topics.items()]
    rules += [(ResourceType.GROUP, name, AclOperation.READ) for name in groups]
    bindings = [
        AclBinding(kind, name, ResourcePatternType.LITERAL, principal, "*", operation, AclPermissionType.ALLOW)
        for kind, name, operation in rules
    ]
    admin = AdminClient({"bootstrap.servers": bootstrap})  # kept: with the client, what was asked for ends too
    for done in admin.create_acls(bindings).values():
        done.result(TIMEOUT_SECONDS)
