"""The quick start works as it is written: README's example, the document's commands and requests, the long script."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.answers import Answer, accepted
from tests.support.event_socket import EventSocket
from tests.support.stack import CHECKOUT, Stack

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.usefixtures("port_25565", "ubuntu", "emptied_afterwards"),
]

DOCUMENT = CHECKOUT / "docs/quick-start.md"
README = CHECKOUT / "README.md"
FENCED = re.DOTALL | re.MULTILINE
LONG_SCRIPT = Path(__file__).with_name("long_script.sh")
WORKING_SECONDS = 120

# Every answer that the document's commands print, by its message, in order.
DOCUMENTED_ANSWERS: list[tuple[str, Answer]] = [
    ("File written successfully", {"path": "config.yml"}),
    ("Port added to pool", {"ip": "0.0.0.0", "port": 25565, "protocol": "tcp"}),
    ("Container creation started", {"internal_id": "my-server-001", "state": "installing"}),
    ("Container start initiated", {"internal_id": "my-server-001"}),
    ("Container kill initiated", {"internal_id": "my-server-001"}),
    ("Container creation started", {"internal_id": "my-server-002", "state": "installing"}),
    ("Container start initiated", {"internal_id": "my-server-002"}),
    ("Container deleted successfully", {}),
    ("Container deleted successfully", {}),
    ("Port deleted from pool", {}),
]


def bash(script: str, **variables: str) -> str:
    """Run a script in one bash session that ends at its first failed command; its output."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=CHECKOUT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=WORKING_SECONDS,
    )
    assert done.returncode == 0, f"ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def json_objects(text: str) -> list[Answer]:
    """All JSON objects that stand somewhere in a text, in order."""
    decoder = json.JSONDecoder()
    found: list[Answer] = []
    position = text.find("{")
    while position >= 0:
        value, position = decoder.raw_decode(text, position)
        found.append(value)
        position = text.find("{", position)
    return found


def test_the_commands_of_the_quick_start_run_as_they_stand(stack: Stack) -> None:
    blocks = re.findall(r"^```bash\n(.*?)^```", DOCUMENT.read_text(), FENCED)
    assert len(blocks) >= 8
    script = "\n".join(blocks).replace("http://localhost:8070", stack.base_url).replace("lightd_token", stack.token)
    with stack.socket("my-server-001") as first, stack.socket("my-server-002") as second:
        output = bash(script)
        first.wait_for_state("exit")
        second.wait_for_state("running")

    answers = [answer for answer in json_objects(output) if "message" in answer]
    assert [answer["message"] for answer in answers] == [message for message, _ in DOCUMENTED_ANSWERS]
    for answer, (_, fields) in zip(answers, DOCUMENTED_ANSWERS, strict=True):
        assert {key: answer.get(key) for key in fields} == fields
    assert re.search(r"^volume: [0-9a-f-]{36}$", output, re.MULTILINE)
    assert output.count("\nReady") >= 1, "the logs of the first server"
    assert first.states()[:4] == ["installing", "installed", "starting", "running"]
    assert "Ready\n" in first.console_text()
    assert second.states()[:4] == ["installing", "installed", "starting", "running"]
    assert "Done\n" in second.console_text()
    for path, name in (("/containers", "containers"), ("/volumes", "volumes"), ("/network/ports", "ports")):
        assert accepted(stack.api("GET", path))[name] == [], "the document cleans up"


def test_the_first_example_of_the_readme_works_as_it_stands(stack: Stack) -> None:
    ((command, answer),) = re.findall(r"^```sh\n(TOKEN=.*?)^```\n\n```json\n(.*?)^```", README.read_text(), FENCED)
    made = json.loads(bash(command.replace("http://localhost:8070", stack.base_url), **stack.environment))
    assert json.loads(answer).keys() - {"…"} <= made.keys()
    assert accepted(stack.api("GET", f"/volumes/{made['volume_id']}")) == made


def test_the_original_requests_work_as_they_stand(stack: Stack) -> None:
    def send(path: str, body: str | None = None) -> requests.Response:
        headers = {"Content-Type": "application/json"} if body else {}
        return stack.api("POST", path, data=body, headers=headers)

    volume = accepted(send("/volumes"), 201)
    assert volume["path"].endswith(volume["volume_id"])
    body = '{"path": "config.yml", "content": "server-port: 25565\\nmax-players: 20"}'
    assert accepted(send(f"/volumes/{volume['volume_id'][:8]}/files", body))["path"] == "config.yml"
    assert (Path(volume["path"]) / "config.yml").read_text() == "server-port: 25565\nmax-players: 20"
    accepted(send("/network/ports", '{"ip": "0.0.0.0", "port": 25565, "protocol": "tcp"}'))
    with stack.socket("my-server-001") as events:
        answer = accepted(send("/containers", _original_container(volume["volume_id"])))
        assert answer["message"] == "Container creation started"
        assert (answer["internal_id"], answer["state"]) == ("my-server-001", "installing")
        events.wait_for_state("installing")
        events.wait_for_state("installed", 30)
        assert accepted(stack.api("GET", "/containers/my-server-001"))["install_state"] == "ready"
        started = accepted(send("/containers/my-server-001/start"))
        assert started["message"] == "Container start initiated"
        _ready_comes_again_and_again(events)
    assert events.states() == ["installing", "installed", "starting", "running"]


def _original_container(volume_id: str) -> str:
    return (
        '{"internal_id": "my-server-001", "image": "ubuntu:22.04", "volume_id": "' + volume_id + '",'
        r' "startup_command": "bash -c \"while true; do echo Ready; sleep 1; done\"", "start_pattern": "Ready",'
        ' "ports": [{"ip": "0.0.0.0", "port": 25565, "protocol": "tcp"}],'
        ' "limits": {"memory": 536870912, "cpu": 1.0}}'
    )


def _ready_comes_again_and_again(events: EventSocket) -> None:
    events.wait_for_state("running")
    for _ in range(3):
        seen = len(events.events)
        assert set(events.wait_for_console("Ready", start=seen)["data"].split()) == {"Ready"}


def test_the_long_script_ends_with_a_running_server(stack: Stack, java_image: str) -> None:
    with stack.socket("minecraft-001") as events:
        output = bash(LONG_SCRIPT.read_text(), TOKEN=stack.token, BASE_URL=stack.base_url, IMAGE=java_image)
        events.wait_for_state("running", 20)
        events.wait_for_console("Done")
    answers: list[dict[str, Any]] = json_objects(output)
    assert [answer["message"] for answer in answers] == [
        "File written successfully",
        "Port added to pool",
        "Container creation started",
        "Container start initiated",
    ]
    told = re.findall(r"^state (\w+)$", output, re.MULTILINE)
    assert told[-1] == "ready"
    assert set(told[:-1]) <= {"installing"}
    assert events.states() == ["installing", "installed", "starting", "running"]
    assert "Loading server.jar: a game in a jar, eula=true\n" in events.console_text()
