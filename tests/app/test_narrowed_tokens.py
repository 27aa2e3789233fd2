"""A container's token: its container, its jobs, the files on its volume, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.test import TestResponse

from app.services import Services
from fleet.links import read_link
from fleet.models import Node, Volume
from fleet.repositories.jobs import new_job
from tests.app.conftest import NODE, VOLUME, Api
from tests.app.worker import Worker

THEIR_VOLUME = "d6764075-ffff-4045-9fb3-85315b85cb0f"
"""The first eight digits are those of `VOLUME`."""
UNKNOWN_VOLUME = "00000000-0000-4000-8000-000000000000"

Narrowed = Callable[..., Api]


@pytest.fixture(autouse=True)
def game(api: Api, offered: Services, volume: Volume) -> None:
    """Two containers, `mine` and `theirs`, each with a volume and a port."""
    offered.volumes.save(Volume(THEIR_VOLUME, NODE, "/v", 1024, "loop", "ready", 0, 0))
    api.post("/network/ports/bulk", {"ip": "0.0.0.0", "from": 1, "to": 3, "protocol": "tcp"})
    create(api, "theirs", THEIR_VOLUME, 1)
    create(api, "mine", VOLUME, 2)


def create(api: Api, name: str, volume_id: str, *ports: int) -> None:
    wanted = [{"ip": "0.0.0.0", "port": number} for number in ports]
    body = {"internal_id": name, "image": "ubuntu:22.04", "volume_id": volume_id, "startup_command": "./run"}
    assert api.post("/containers", {**body, "ports": wanted}).status_code == 200


@pytest.fixture
def narrowed(api: Api) -> Narrowed:
    """Makes clients with a token of these `scopes` or `containers`."""

    def make(ttl: str = "1h", **limits: Any) -> Api:
        return Api(api.client, api.post("/auth/tokens", {"ttl": ttl, **limits}).json["token"])

    return make


def assert_out_of_reach(answer: TestResponse) -> None:
    assert (answer.status_code, answer.json["code"]) == (403, "out_of_reach")


def test_lists_show_only_what_is_its_own(narrowed: Narrowed) -> None:
    holder = narrowed(containers=["mine", "not-yet"])
    assert [found["internal_id"] for found in holder.get("/containers").json["containers"]] == ["mine"]
    assert [found["volume_id"] for found in holder.get("/volumes").json["volumes"]] == [VOLUME]
    assert [found["port"] for found in holder.get("/network/ports").json["ports"]] == [2]
    assert holder.get("/network/ports?in_use=false").json["ports"] == []


def test_lists_of_its_own_come_in_pages(api: Api, narrowed: Narrowed) -> None:
    for number in range(4):
        create(api, f"mine-{number}", VOLUME)
        create(api, f"theirs-{number}", THEIR_VOLUME)
    holder = narrowed(containers=[f"mine-{number}" for number in (3, 1, 0, 2)])
    first = holder.get("/containers?limit=3").json
    assert [found["internal_id"] for found in first["containers"]] == ["mine-0", "mine-1", "mine-2"]
    second = holder.get(f"/containers?limit=3&cursor={first['next_cursor']}").json
    assert [found["internal_id"] for found in second["containers"]] == ["mine-3"]
    assert "next_cursor" not in second


def test_a_new_container_of_its_name_is_its_own(api: Api, narrowed: Narrowed) -> None:
    holder = narrowed(containers=["later"])
    assert holder.get("/containers/later").status_code == 404
    create(api, "later", THEIR_VOLUME)
    assert holder.get("/containers/later").status_code == 200
    assert holder.get(f"/volumes/{THEIR_VOLUME}").status_code == 200


def test_a_prefix_means_its_own_volume_also_where_it_fits_another_ones(api: Api, narrowed: Narrowed) -> None:
    assert api.get(f"/volumes/{VOLUME[:8]}").status_code == 409
    holder = narrowed(containers=["mine"])
    assert holder.get(f"/volumes/{VOLUME[:8]}").json["volume_id"] == VOLUME
    both = narrowed(containers=["mine", "theirs"])
    assert both.get(f"/volumes/{VOLUME[:8]}").json["code"] == "ambiguous_id"


@pytest.mark.parametrize("volume_id", [THEIR_VOLUME, UNKNOWN_VOLUME, "nonsense", "d6764075-f"])
def test_other_volumes_are_refused_whether_they_exist_or_not(narrowed: Narrowed, volume_id: str) -> None:
    holder = narrowed(containers=["mine"])
    for call in ("", "/files", "/files/content?path=a", "/download?path=a&direct=1", "/quota", "/search?pattern=*"):
        assert_out_of_reach(holder.get(f"/volumes/{volume_id}{call}"))
    assert_out_of_reach(holder.put(f"/volumes/{volume_id}/upload?path=a&direct=1"))
    for call, body in (("links", {"path": "a", "action": "download"}), ("compress", {}), ("files", {"path": "a"})):
        assert_out_of_reach(holder.post(f"/volumes/{volume_id}/{call}", body))


def test_other_containers_are_refused_whether_they_exist_or_not(narrowed: Narrowed) -> None:
    holder = narrowed(containers=["mine"])
    for name in ("theirs", "none"):
        assert_out_of_reach(holder.get(f"/containers/{name}"))
        assert_out_of_reach(holder.post(f"/containers/{name}/kill"))
        assert_out_of_reach(holder.get(f"/containers/{name}/jobs"))


def test_jobs_are_reached_through_their_container_or_volume(offered: Services, narrowed: Narrowed) -> None:
    def packed(volume_id: str) -> str:
        job = new_job("compress", NODE, "long", volume_id=volume_id, arguments={})
        offered.jobs.open_on_volume(job)
        return job.job_id

    def installed(name: str) -> str:
        return str(offered.containers.get(name).job_id)

    holder = narrowed(containers=["mine"])
    for job_id in (packed(VOLUME), installed("mine")):
        assert holder.get(f"/jobs/{job_id}").json["job_id"] == job_id
        assert holder.post(f"/jobs/{job_id}/cancel").status_code == 200
    for job_id in (packed(THEIR_VOLUME), installed("theirs"), "0" * 24):
        assert_out_of_reach(holder.get(f"/jobs/{job_id}"))
        assert_out_of_reach(holder.post(f"/jobs/{job_id}/cancel"))
        assert narrowed(scopes=["read"]).get(f"/jobs/{job_id}").json.get("code") in (None, "job_not_found")


def test_files_and_power_each_follow_their_own_jobs(offered: Services, narrowed: Narrowed) -> None:
    job = new_job("compress", NODE, "long", volume_id=VOLUME, arguments={})
    offered.jobs.open_on_volume(job)
    install = offered.containers.get("mine").job_id
    files, power = narrowed(scopes=["files"]), narrowed(scopes=["power"])
    for scoped, own, foreign in ((files, job.job_id, install), (power, install, job.job_id)):
        assert scoped.get(f"/jobs/{own}").status_code == 200
        for answer in (scoped.get(f"/jobs/{foreign}"), scoped.post(f"/jobs/{foreign}/cancel")):
            assert (answer.status_code, answer.json["code"]) == (403, "missing_scope")
        assert scoped.post(f"/jobs/{own}/cancel").status_code == 200


def test_a_refusal_names_what_is_missing(narrowed: Narrowed) -> None:
    answer = narrowed(scopes=["read", "files"]).post("/containers/mine/kill")
    assert (answer.status_code, answer.json["code"]) == (403, "missing_scope")
    assert answer.json["error"] == "This token lacks the scope power."


def test_without_the_console_scope_the_output_of_ended_runs_is_left_out(
    api: Api, worker: Worker, narrowed: Narrowed
) -> None:
    worker.install("mine")
    api.post("/containers/mine/start")
    worker.exit("mine", worker.start("mine"), 3)
    for scopes, expected in ((["read"], None), (["read", "console"], ""), (["admin"], "")):
        holder = narrowed(scopes=scopes)
        assert holder.get("/containers/mine").json["last_end"]["output"] == expected
        assert holder.get("/containers/mine/ends").json["ends"][0]["output"] == expected


def test_a_link_ends_with_the_token_that_made_it(api: Api, offered: Services, narrowed: Narrowed) -> None:
    wanted = {"path": "a", "action": "download", "ttl": "7d"}

    def seconds_of(holder: Api) -> float:
        url = holder.post(f"/volumes/{VOLUME}/links", wanted).json["url"]
        link = read_link(offered.settings.signing_key(), "download", url.rpartition("/")[2])
        assert link.volume_id == VOLUME
        return link.expires_at - time.time()

    assert seconds_of(narrowed("5m", containers=["mine"])) <= 300
    assert seconds_of(narrowed("5m", scopes=["files"])) <= 300
    assert seconds_of(narrowed("5m")) <= 300
    assert seconds_of(narrowed("5m", remove_on_use=True)) <= 300
    assert seconds_of(api) > 6 * 86400


def test_a_containers_token_makes_nothing_new(node: Node, narrowed: Narrowed) -> None:
    holder = narrowed(containers=["mine", "new"])
    body = {"internal_id": "new", "image": "a", "volume_id": VOLUME, "startup_command": "./run"}
    assert_out_of_reach(holder.post("/containers", body))
    assert_out_of_reach(holder.post("/volumes"))
    assert_out_of_reach(holder.post(f"/volumes/{VOLUME}/resize", {"size": 2048}))
    assert_out_of_reach(holder.delete(f"/volumes/{VOLUME}"))
    assert_out_of_reach(holder.get("/network/ports/random"))


def test_a_wrong_scope_uses_up_a_single_use_token(narrowed: Narrowed) -> None:
    once = narrowed(scopes=["read"], remove_on_use=True)
    assert [once.post("/containers/mine/kill").status_code, once.get("/containers").status_code] == [403, 401]
