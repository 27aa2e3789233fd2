"""Failed logins are counted per address; who has a good token is not kept out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from werkzeug.test import TestResponse

from app import create_app
from app.services import Services
from fleet.repositories.tokens import new_master_secret
from fleet.settings import Settings
from fleet.store import Client, connect
from tests.app.conftest import VENDOR_TYPE, Api

LIMIT = 3
WRONG = "lightd_wrong-wrong-wrong-wrong"
HERE, THERE, PROXY = "192.0.2.1", "192.0.2.2", "10.0.0.1"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings with a low limit and a proxy."""
    return replace(settings, login_failures_per_minute=LIMIT, trusted_proxies=("10.0.0.0/8",))


@pytest.fixture
def other_process(settings: Settings, api: Api) -> Iterator[Api]:
    """The API in another process of the same fleet: nothing is shared but the store."""
    stores = connect(settings)
    yield Api(create_app(settings, stores, print).test_client(), api.token)
    for client in (stores.record, stores.blocking, stores.stream, stores.stream_bytes):
        client.close()


def call(api: Api, token: str, address: str = HERE, forwarded: str | None = None) -> TestResponse:
    headers = {"Authorization": f"Bearer {token}", "Accept": VENDOR_TYPE}
    if forwarded is not None:
        headers["X-Forwarded-For"] = forwarded
    return api.client.get("/volumes", headers=headers, environ_base={"REMOTE_ADDR": address})


def fail(api: Api, times: int = LIMIT, address: str = HERE, forwarded: str | None = None) -> list[int]:
    return [call(api, f"{WRONG}-{n}", address, forwarded).status_code for n in range(times)]


def test_too_many_wrong_tokens_from_one_address_are_told_to_wait(api: Api) -> None:
    assert fail(api, LIMIT + 2) == [401] * LIMIT + [429] * 2
    refused = call(api, WRONG)
    assert (refused.status_code, refused.json["code"]) == (429, "too_many_requests")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60


def test_a_wait_ends(api: Api, store: Client) -> None:
    fail(api)
    (count,) = store.keys("lightd:failed_logins:*")
    assert 0 < store.ttl(count) <= 60
    store.delete(count)
    assert call(api, WRONG).status_code == 401


def test_other_addresses_need_not_wait(api: Api) -> None:
    fail(api)
    assert call(api, WRONG, THERE).status_code == 401


def test_the_limit_holds_over_all_processes(api: Api, other_process: Api) -> None:
    fail(api)
    assert call(other_process, WRONG).status_code == 429


def test_a_token_in_use_at_that_address_goes_on(api: Api, other_process: Api) -> None:
    assert call(api, api.token).status_code == 200
    fail(api)
    assert [call(client, api.token).status_code for client in (api, other_process)] == [200, 200]


def test_an_issued_token_is_let_in_for_the_first_time_too(api: Api, offered: Services) -> None:
    fail(api)
    assert call(api, offered.tokens.issue(60)[0]).status_code == 200
    once = offered.tokens.issue(60, remove_on_use=True)[0]
    assert [call(api, once).status_code for _ in range(2)] == [200, 429]


def test_the_master_token_cannot_be_guessed_from_an_address_that_must_wait(api: Api) -> None:
    fail(api)
    assert call(api, api.token).status_code == 429
    assert call(api, api.token, THERE).status_code == 200


def test_a_token_that_was_good_here_once_is_no_way_past_the_limit_when_it_is_dead(api: Api, offered: Services) -> None:
    call(api, api.token)
    offered.tokens.set_master(new_master_secret())
    assert [call(api, api.token).status_code for _ in range(2)] == [401, 401]
    fail(api)
    assert call(api, WRONG).status_code == 429


def test_a_missing_or_shapeless_token_is_no_guess(api: Api) -> None:
    for _ in range(LIMIT + 1):
        assert api.client.get("/volumes", environ_base={"REMOTE_ADDR": HERE}).status_code == 401
    assert call(api, WRONG).status_code == 401


def test_a_whole_ipv6_network_is_one_address(api: Api) -> None:
    statuses = [call(api, WRONG, f"2001:db8::{n}").status_code for n in range(1, LIMIT + 2)]
    assert statuses == [401] * LIMIT + [429]
    assert call(api, WRONG, "2001:db8:0:1::1").status_code == 401


def test_who_a_trusted_proxy_speaks_for_is_counted_by_itself(api: Api) -> None:
    fail(api, address=PROXY, forwarded=HERE)
    assert call(api, WRONG, PROXY, forwarded=HERE).status_code == 429
    assert call(api, WRONG, PROXY, forwarded=THERE).status_code == 401


@pytest.mark.parametrize("claimed", ["192.0.2.77", "192.0.2.77, 10.0.0.9", "nonsense"])
def test_what_a_stranger_claims_about_its_address_is_not_believed(api: Api, claimed: str) -> None:
    fail(api)
    assert call(api, WRONG, HERE, forwarded=claimed).status_code == 429


def test_what_a_client_wrote_before_the_proxys_word_is_not_believed(api: Api) -> None:
    fail(api, address=PROXY, forwarded=HERE)
    assert call(api, WRONG, PROXY, forwarded=f"{THERE}, {HERE}, 10.0.0.7").status_code == 429
