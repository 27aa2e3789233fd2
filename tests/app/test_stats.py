"""`GET /containers/<id>/stats`: what a container uses or used last, and a series for plots."""

from __future__ import annotations

import time
from typing import Any

import pytest

from app.services import Services
from fleet.models import Volume
from fleet.stats import LastStats, Report, Stats
from fleet.stats_series import Point
from tests.app.conftest import Api
from tests.app.worker import Worker

STATS = Stats(12.5, 1000, 2000, 3, 4, 5, 6, 7, 8)


@pytest.fixture
def container(api: Api, volume: Volume, worker: Worker) -> str:
    """A container that is installed."""
    body = {"internal_id": "c", "image": "i", "volume_id": volume.volume_id, "startup_command": "x"}
    assert api.post("/containers", body).status_code == 200
    worker.install("c")
    return "c"


def a_run(seconds_ago: float) -> str:
    return f"{time.time_ns() - int(seconds_ago * 1e9):020d}"


def point(at: int) -> Point:
    return Point(at, 12.5, 2048, 1, 2, 3, 4, 5, None)


def get(api: Api, path: str) -> dict[str, Any]:
    answer = api.get(path)
    assert answer.status_code == 200, answer.json
    shown: dict[str, Any] = answer.json
    return shown


def test_of_a_running_container_they_are_the_current_ones(api: Api, container: str, offered: Services) -> None:
    run = a_run(seconds_ago=100)
    offered.stores.record.hset("lightd:container:c", mapping={"state": "running", "run": run})
    offered.stats.write([Report("c", LastStats(run, 1, STATS), point(1), is_news=True, renews=True)])
    shown = get(api, "/containers/c/stats")
    assert 100 <= shown.pop("uptime") < 1000
    assert shown == {
        "internal_id": "c",
        "state": "running",
        "node_state": "online",
        "cpu_usage": 12.5,
        "memory_usage": 1000,
        "memory_limit": 2000,
        "network_rx": 3,
        "network_tx": 4,
        "block_read": 5,
        "block_write": 6,
        "pids": 7,
        "disk_used": 8,
    }


def test_after_a_run_they_are_the_last_known(api: Api, container: str, offered: Services) -> None:
    run = a_run(seconds_ago=100)
    offered.stats.write([Report("c", LastStats(run, 1, STATS), point(1), is_news=True, renews=True)])
    shown = get(api, "/containers/c/stats")
    assert (shown["state"], shown["uptime"], shown["memory_usage"]) == ("ready", None, 1000)


def test_before_the_first_run_they_are_null(api: Api, container: str) -> None:
    shown = get(api, "/containers/c/stats")
    assert shown["state"] == "ready"
    assert shown["cpu_usage"] is shown["memory_limit"] is shown["uptime"] is shown["disk_used"] is None


def test_a_series_of_up_to_ten_minutes_has_a_point_a_second(api: Api, container: str, offered: Services) -> None:
    now = int(time.time())
    last = LastStats(a_run(0), 1, STATS)
    for at in (now - 400, now - 200, now - 3):
        offered.stats.write([Report("c", last, point(at), is_news=False, renews=True)])
    series = get(api, "/containers/c/stats?minutes=5")["series"]
    assert series == {
        "step": 1,
        "at": [now - 200, now - 3],
        "cpu_usage": [12.5] * 2,
        "memory_usage": [2048] * 2,
        "network_rx_per_second": [1] * 2,
        "network_tx_per_second": [2] * 2,
        "block_read_per_second": [3] * 2,
        "block_write_per_second": [4] * 2,
        "pids": [5] * 2,
        "disk_used": [None] * 2,
    }


def test_a_longer_series_has_a_point_a_minute(api: Api, container: str, offered: Services) -> None:
    minute = int(time.time()) // 60 * 60
    offered.stats.write([Report("c", LastStats(a_run(0), 1, STATS), point(minute), is_news=True, renews=True)])
    for ago in (100, 30, 1):
        offered.stats.write_minutes({"c": point(minute - ago * 60)})
    series = get(api, "/containers/c/stats?minutes=60")["series"]
    assert (series["step"], series["at"]) == (60, [minute - 1800, minute - 60])
    assert get(api, "/containers/c/stats?minutes=1440")["series"]["at"][0] == minute - 6000


def test_without_minutes_there_is_no_series(api: Api, container: str) -> None:
    assert "series" not in get(api, "/containers/c/stats")


@pytest.mark.parametrize("minutes", ["0", "1441", "-1", "x", "1.5", ""])
def test_minutes_that_make_no_sense_are_refused(api: Api, container: str, minutes: str) -> None:
    answer = api.get(f"/containers/c/stats?minutes={minutes}")
    assert answer.status_code == 400
    assert "minutes" in answer.json["fields"]


def test_an_unknown_container_is_404(api: Api) -> None:
    assert api.get("/containers/nobody/stats").status_code == 404
