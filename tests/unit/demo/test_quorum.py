"""The nodes of a cluster and their properties, with KRaft and with ZooKeeper."""

from __future__ import annotations

import pytest

from kmigrate.demo.quorum import CLIENTS, CONTROLLER, INTERNAL, ZOOKEEPER, Brokers, quorum_of

BROKERS = Brokers(ids=(1, 2), protocols={"SASL": "SASL_PLAINTEXT"}, advertised={2: 7777}, properties={"own": "yes"})


def test_one_broker_is_its_own_controller() -> None:
    quorum = quorum_of("3.9.1", Brokers())
    (node,) = quorum.plan_nodes().values()
    assert quorum.ids == (1,)
    assert set(node.ports) == {CLIENTS, INTERNAL, CONTROLLER}
    assert node.properties["process.roles"] == "broker,controller"
    assert node.properties["advertised.listeners"].count("://") == 2


def test_two_brokers_have_a_controller_beside_them() -> None:
    quorum = quorum_of("4.3.1", BROKERS)
    nodes = quorum.plan_nodes()
    assert quorum.ids == (101,)
    assert {node: set(plan.ports) for node, plan in nodes.items()} == {
        1: {CLIENTS, INTERNAL, "SASL"},
        2: {CLIENTS, INTERNAL, "SASL"},
        101: {CONTROLLER},
    }
    voters = {plan.properties["controller.quorum.voters"] for plan in nodes.values()}
    assert voters == {f"101@127.0.0.1:{nodes[101].ports[CONTROLLER]}"}
    assert [nodes[node].properties["process.roles"] for node in (1, 2, 101)] == ["broker", "broker", "controller"]
    assert "advertised.listeners" not in nodes[101].properties


def test_a_release_before_3_3_has_a_zookeeper() -> None:
    quorum = quorum_of("2.8.2", BROKERS)
    nodes = quorum.plan_nodes()
    assert quorum.ids == (101,)
    assert set(nodes) == {1, 2, 101}
    port = nodes[101].ports[ZOOKEEPER]
    assert {nodes[broker].properties["zookeeper.connect"] for broker in (1, 2)} == {f"127.0.0.1:{port}"}
    assert [nodes[broker].properties["broker.id"] for broker in (1, 2)] == ["1", "2"]
    assert not {"process.roles", "controller.quorum.voters"} & set(nodes[1].properties)
    assert "own" not in nodes[101].properties


@pytest.mark.parametrize("version", ["2.8.2", "3.9.1"])
def test_every_broker_says_what_was_wanted_of_it(version: str) -> None:
    nodes = quorum_of(version, BROKERS).plan_nodes()
    assert nodes[1].properties["own"] == "yes"
    assert f"{CLIENTS}://127.0.0.1:{nodes[1].ports[CLIENTS]}" in nodes[1].properties["advertised.listeners"]
    assert f"{CLIENTS}://127.0.0.1:7777" in nodes[2].properties["advertised.listeners"]
    assert "SASL:SASL_PLAINTEXT" in nodes[2].properties["listener.security.protocol.map"]
    assert nodes[2].properties["offsets.topic.replication.factor"] == "2"
    ports = [port for node in nodes.values() for port in node.ports.values()]
    assert len(set(ports)) == len(ports)


def test_controllers_of_their_own_are_refused_where_zookeeper_keeps_the_metadata() -> None:
    with pytest.raises(ValueError, match="ZooKeeper"):
        quorum_of("2.8.2", Brokers(), controllers=1)
