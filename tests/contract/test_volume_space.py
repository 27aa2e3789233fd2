"""Out of space, as the watchers of a container hear of it."""

from __future__ import annotations

import pytest

from tests.support.event_socket import EventSocket
from tests.support.servers import Servers
from tests.support.stack import Stack

pytestmark = pytest.mark.engine

SECONDS = 30
FILL_OR_FREE = """echo Ready
while read -r line; do
  case $line in
    fill) dd if=/dev/zero of=big bs=1M ;;
    free) rm big ;;
  esac
  echo "did $line"
done"""


def told(events: EventSocket) -> list[str]:
    every = [event["data"] for event in events.events if event["event"] == "daemon_message"]
    return [data for data in every if data.startswith("The volume ")]


def wait_told(events: EventSocket, text: str, start: int = 0) -> str:
    return str(events.wait_for(lambda event: text in str(event.get("data")), SECONDS, start=start)["data"])


def test_a_full_volume_is_told_once_until_it_had_room_again(stack: Stack, servers: Servers) -> None:
    container = servers.run(FILL_OR_FREE, volume_id=servers.volume(size_mb=32)["volume_id"])
    with stack.socket(container) as events:
        events.send({"event": "send_command", "command": "fill"})
        events.wait_for_console("No space left on device", SECONDS)
        message = wait_told(events, "running out of space")
        assert "of 32 MB are used" in message
        events.send({"event": "send_command", "command": "free"})
        wait_told(events, "has room again")
        seen = len(events.events)
        events.send({"event": "send_command", "command": "fill"})
        wait_told(events, "running out of space", seen)
        assert [text.split(":")[0] for text in told(events)] == [
            "The volume is running out of space",
            "The volume has room again",
            "The volume is running out of space",
        ]
