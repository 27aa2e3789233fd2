"""A slow reader is told and left behind; it catches up by `since`, and nobody else notices."""

from __future__ import annotations

import json

import pytest

from tests.sockets.conftest import Api
from tests.sockets.raw_socket import RawSocket
from tests.support.deadline import eventually

SMALL_BUFFER = 4096
LINE = "x" * 60_000


def test_a_client_that_reads_too_slowly_is_closed_with_4408_and_others_get_everything(api: Api, name: str) -> None:
    api.create(name)
    first = api.print(name, "first")
    with api.socket(name) as quick, RawSocket(api.url(name, since=0), receive_buffer_bytes=SMALL_BUFFER) as slow:
        quick.wait_for_state("running")
        eventually(lambda: api.held()["watches"], within_seconds=5, what="watching")
        seqs: list[int] = []
        for _ in range(12):
            seqs += [api.print(name, f"{len(seqs)} {LINE}") for _ in range(10)]
            quick.wait_for(lambda event, seq=seqs[-1]: event.get("seq") == seq)
        assert [event["seq"] for event in quick.events if event["event"] == "console"] == seqs

        frames = list(slow.frames())
        messages = [json.loads(payload) for opcode, payload in frames if opcode == 1]
        got = [message["seq"] for message in messages if message["event"] == "console"]
        assert frames[-1][0] == 8 and int.from_bytes(frames[-1][1][:2], "big") == 4408
        assert messages[-1]["data"].startswith("Error: This client reads too slowly")
        assert got == list(range(first, first + len(got)))
        assert len(got) < 120

    with api.socket(name, since=got[-1]) as again:
        again.wait_for(lambda event: event.get("seq") == seqs[-1])
        followed = [event for event in again.events if event["event"] in ("console", "daemon_message")]
        assert followed[-1]["seq"] == seqs[-1]


def test_large_frames_reach_a_slow_reader_whole(api: Api, name: str) -> None:
    api.create(name)
    api.print(name, "first")
    with RawSocket(api.url(name, since=0), receive_buffer_bytes=SMALL_BUFFER) as slow:
        frames = slow.frames()
        assert json.loads(next(frames)[1])["data"] == "running"
        assert json.loads(next(frames)[1])["data"] == "first\n"
        sizes = [1, 125, 126, 65_535, 65_536, 300_000, 10, 500_000]
        for number, size in enumerate(sizes):
            api.print(name, f"{number} " + chr(ord("a") + number) * size)
        for number, size in enumerate(sizes):
            opcode, payload = next(frames)
            assert opcode == 1
            assert json.loads(payload)["data"] == f"{number} " + chr(ord("a") + number) * size + "\n"


@pytest.mark.parametrize("many", [False, True])
def test_whoever_asks_for_many_logs_at_once_gets_all_of_them(api: Api, name: str, many: bool) -> None:
    api.create(name)
    lines = [f"{number} " + "漢字" * 40 for number in range(3000)]
    for first in range(0, len(lines), 100):
        api.print(name, *lines[first : first + 100])
    with RawSocket(api.many_url() if many else api.url(name), receive_buffer_bytes=SMALL_BUFFER) as slow:
        asked = {"event": "request_logs", "lines": 5000, "server": name}
        for _ in range(8):
            slow.send_frame(0x81, json.dumps(asked).encode())
        got: list[str] = []
        for opcode, payload in slow.frames():
            assert opcode == 1
            message = json.loads(payload)
            if message["event"] == "logs":
                got.append(message["data"])
                if len(got) == 8:
                    break
        assert len(set(got)) == 1
        assert "".join(f"{line}\n" for line in lines).endswith(got[0])
        assert got[0].count("\n") > 1000


def test_a_replay_larger_than_the_backlog_waits_for_its_reader(api: Api, name: str) -> None:
    api.create(name)
    seqs = [api.print(name, f"{number} " + "é" * 14_000) for number in range(60)]
    with RawSocket(api.url(name, since=0), receive_buffer_bytes=SMALL_BUFFER) as slow:
        eventually(lambda: api.held()["clients"] == 1, within_seconds=5, what="the client")
        got = []
        for opcode, payload in slow.frames():
            assert opcode == 1
            message = json.loads(payload)
            if message["event"] == "console":
                got.append(message["seq"])
                if message["seq"] == seqs[-1]:
                    break
        assert got == seqs


def test_a_client_that_reads_nothing_any_more_is_cut(api: Api, name: str) -> None:
    api.create(name)
    with RawSocket(api.url(name), receive_buffer_bytes=SMALL_BUFFER):
        eventually(lambda: api.held()["clients"] == 1, within_seconds=5, what="the client")
        for _ in range(200):
            api.print(name, LINE)
        eventually(
            lambda: api.held()["clients"] == 0, within_seconds=20, what="the end of the client that reads nothing"
        )
