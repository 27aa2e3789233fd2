"""WebSockets count failed logins together with REST, over all processes of the API."""

from __future__ import annotations

from pathlib import Path

import requests

from tests.sockets.conftest import running_api
from tests.support.event_socket import EventSocket

LIMIT = 6
UNAUTHENTICATED = 4401
UPGRADE = {
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Connection": "Upgrade",
}


def test_wrong_tokens_in_handshakes_and_first_messages_are_counted_together(folder: Path) -> None:
    settings = {"LIGHTD_LOGIN_FAILURES_PER_MINUTE": str(LIMIT), "LIGHTD_API_WORKERS": "2"}
    for api in running_api(folder, **settings):
        base, wrong = f"http://{api.address}", "lightd_wrong-wrong-wrong-wrong"
        bearer = {"Authorization": f"Bearer {wrong}"}
        statuses = [
            requests.get(f"{base}/ws/x?token={wrong}", headers=UPGRADE, timeout=60).status_code for _ in range(2)
        ]
        statuses += [requests.get(f"{base}/volumes", headers=bearer, timeout=60).status_code for _ in range(2)]
        assert statuses == [401] * 4
        for _ in range(2):
            with EventSocket(f"ws://{api.address}/ws/x") as socket:
                socket.send({"event": "auth", "token": wrong})
                assert socket.wait_closed(10) == UNAUTHENTICATED
        for path, headers in ((f"/ws/x?token={wrong}", UPGRADE), ("/ws/x", UPGRADE | bearer), ("/volumes", bearer)):
            told = requests.get(base + path, headers=headers, timeout=60)
            assert (told.status_code, told.json()["code"]) == (429, "too_many_requests")
            assert int(told.headers["Retry-After"]) >= 1
        with EventSocket(f"ws://{api.address}/ws/x") as socket:
            socket.send({"event": "auth", "token": api.token})
            assert socket.wait_closed(10) == UNAUTHENTICATED
        issued, _ = api.tokens.issue(60)
        with api.socket("x", token=issued) as socket:
            socket.wait_for(lambda event: event["event"] == "daemon_message")
        assert wrong.removeprefix("lightd_") not in api.log()
