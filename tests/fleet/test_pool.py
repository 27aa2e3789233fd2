"""The pool holds each port once, and gives it to one container at a time."""

from __future__ import annotations

import pytest

from fleet.errors import Conflict, Invalid, NotFound
from fleet.models import Port, PortWish, port_member
from tests.fleet.conftest import Record


def port(ip: str, number: int, protocol: str = "tcp") -> Port:
    return Port(ip, number, protocol, "", "", False)


@pytest.mark.parametrize(
    ("known", "added"),
    [("10.0.0.1", "10.0.0.1"), ("0.0.0.0", "10.0.0.1"), ("10.0.0.1", "0.0.0.0"), ("::", "fd00::1")],
)
def test_addresses_that_overlap_are_refused(record: Record, known: str, added: str) -> None:
    record.ports.add([port(known, 80)])
    with pytest.raises(Invalid, match="Port already exists in pool"):
        record.ports.add([port(added, 80)])


@pytest.mark.parametrize(("known", "added"), [("10.0.0.1", "10.0.0.2"), ("0.0.0.0", "::"), ("10.0.0.1", "fd00::1")])
def test_addresses_that_do_not_overlap_stand_side_by_side(record: Record, known: str, added: str) -> None:
    record.ports.add([port(known, 80)])
    record.ports.add([port(added, 80)])
    record.ports.add([port(added, 80, "udp")])


def test_a_bulk_addition_is_all_or_nothing(record: Record) -> None:
    with pytest.raises(Invalid):
        record.ports.add([port("0.0.0.0", number) for number in range(25560, 25570)])
    with pytest.raises(NotFound):
        record.ports.get("0.0.0.0", 25560, "tcp")


def test_a_held_port_is_neither_freed_nor_deleted(record: Record) -> None:
    record.create("a", PortWish("tcp", ip="0.0.0.0", port=25565))
    with pytest.raises(Conflict, match="container a"):
        record.ports.use("0.0.0.0", 25565, "tcp", in_use=False)
    with pytest.raises(Conflict, match="container a"):
        record.ports.delete("0.0.0.0", 25565, "tcp")
    assert record.ports.delete_many([port_member("0.0.0.0", number, "tcp") for number in (25565, 25566, 1)]) == 1


def test_a_reserved_port_is_not_given_out(record: Record) -> None:
    record.ports.use("0.0.0.0", 25565, "tcp", in_use=True)
    record.ports.use("0.0.0.0", 25566, "tcp", in_use=True)
    with pytest.raises(NotFound):
        record.ports.random_free("tcp")
    record.ports.use("0.0.0.0", 25566, "tcp", in_use=False)
    assert record.ports.random_free("tcp").port == 25566


def test_an_empty_pool_says_so(record: Record) -> None:
    with pytest.raises(NotFound, match="No available ports in pool"):
        record.ports.random_free("udp")
