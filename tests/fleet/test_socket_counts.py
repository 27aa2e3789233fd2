"""How many sockets all API processes hold, as the store counts them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from fleet.keys import key
from fleet.repositories.sockets import SocketCounts
from fleet.store import Client


def test_of_many_at_once_exactly_so_many_get_a_place(store: Client) -> None:
    processes = [SocketCounts(store, f"p{number}") for number in range(3)]
    with ThreadPoolExecutor(8) as pool:
        refused = list(pool.map(lambda number: processes[number % 3].take({"all": 50, "container:a": 7}), range(40)))
    assert refused.count(None) == 7
    assert set(refused) == {None, "container:a"}
    assert processes[0].look({"all": 7}) == "all"
    assert processes[0].look({"all": 8}) is None


def test_a_refusal_counts_under_no_name(store: Client) -> None:
    counts = SocketCounts(store, "p")
    assert counts.take({"all": 9, "token:a": 1}) is None
    assert counts.take({"all": 9, "token:a": 1}) == "token:a"
    assert store.hgetall(key("sockets", "p")) == {"all": "1", "token:a": "1"}
    assert counts.give_back(["all", "token:a"])
    assert not store.exists(key("sockets", "p"))


def test_a_process_that_is_forgotten_holds_nothing_until_it_tells(store: Client) -> None:
    dead, living = SocketCounts(store, "dead"), SocketCounts(store, "living")
    for counts in (dead, living):
        assert counts.take({"all": 2}) is None
        assert counts.renew()
    assert living.look({"all": 2}) == "all"
    store.delete(key("sockets", "dead"))
    assert living.look({"all": 2}) is None
    assert store.smembers(key("socket_processes")) == {"living"}
    assert not dead.renew()
    assert not dead.give_back(["all"])
    dead.tell({"all": 5, "container:a": 2})
    assert dead.renew()
    assert living.look({"all": 6}) == "all"
    dead.tell({})
    assert living.look({"all": 2}) is None
    assert 0 < store.ttl(key("sockets", "living")) <= 10
