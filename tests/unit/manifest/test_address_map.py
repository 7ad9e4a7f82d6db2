"""`addressMap` leads from advertised addresses to reachable ones."""

from __future__ import annotations

from tests.unit.manifest.conftest import HEAD, Load, Told


def mapped(*entries: str) -> str:
    return HEAD.replace("source: {", f"source: {{addressMap: {{{', '.join(entries)}}}, ")


def test_an_address_map_is_read(load: Load) -> None:
    found = load(mapped("'10.0.0.7:9092': 'nat:19092'", "'[::1]:9092': '${env:TO}'"), environ={"TO": "b:1"})
    assert found.source.address_map == ((("10.0.0.7", 9092), ("nat", 19092)), (("::1", 9092), ("b", 1)))
    assert found.target.address_map == ()


def test_what_is_no_address_is_told_on_both_sides(told: Told) -> None:
    assert told(mapped("'10.0.0.7': 'nat'")) == [
        "m.yaml:5: addressMap: '10.0.0.7' is not host:port",
        "m.yaml:5: addressMap: 'nat' is not host:port",
    ]
