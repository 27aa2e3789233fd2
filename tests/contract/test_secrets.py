"""Secrets stay where they belong: recognisable ones go through a whole Lightd, and are looked for everywhere."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
import pytest
import requests
import websocket
from docker.models.images import Image

from tests.support.answers import accepted
from tests.support.event_socket import EventSocket
from tests.support.registry import PASSWORD, USERNAME, Registry
from tests.support.servers import Servers
from tests.support.stack import Stack, running_stack

pytestmark = pytest.mark.engine

SCRIPT = "#!/bin/sh\necho installed > /srv-installed\necho made > made.txt"


class Planted:
    """One Lightd, the secrets that went into it, and every answer that it gave."""

    def __init__(self, stack: Stack, servers: Servers, registry: Registry) -> None:
        self.stack = stack
        self.servers = servers
        self.registry = registry
        self.answers: list[requests.Response] = []
        mark = secrets.token_hex(4)
        self.env_value = f"planted-env-{mark}"
        self.wrong_token = f"lightd_planted-wrong-{mark}"
        self.url_password = f"planted-url-{mark}"
        self.single_use = accepted(self.call("POST", "/auth/tokens", {"ttl": "1h", "remove_on_use": True}))["token"]
        self.issued = accepted(self.call("POST", "/auth/tokens", {"ttl": "1h"}))["token"]
        self.links: list[str] = []
        self.container = ""

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> requests.Response:
        """Call the API and remember its answer."""
        answer = self.stack.api(method, path, json=body, **more)
        if path != "/auth/tokens":
            self.answers.append(answer)
        return answer

    @property
    def tokens(self) -> list[str]:
        """Whatever opens a door of the API."""
        names = [self.stack.token, self.wrong_token, self.single_use, self.issued]
        return [name.removeprefix("lightd_") for name in names]

    @property
    def signing_key(self) -> str:
        return (self.stack.data / "secret").read_text().strip()

    def everything(self) -> list[str]:
        """All planted secrets, and the instance's own."""
        return [*self.tokens, self.env_value, self.url_password, PASSWORD, self.signing_key, *self.links]


def use_tokens(planted: Planted) -> None:
    """Good and bad ones in the header, in the query and in a first message."""
    stack = planted.stack
    for token in (planted.issued, planted.single_use, planted.single_use, planted.wrong_token):
        planted.call("GET", "/volumes", token=token)
        planted.answers.append(requests.get(f"{stack.base_url}/volumes?token={token}", timeout=60))
        planted.answers.append(requests.get(f"{stack.base_url}/ws/x?token={token}", timeout=60))
    with stack.socket("nobody", token=planted.issued) as events:
        events.wait_for(lambda event: event["event"] == "daemon_message")
    with pytest.raises(websocket.WebSocketBadStatusException):
        stack.socket("nobody", token=planted.wrong_token)
    with EventSocket(f"ws://{stack.address}/ws/nobody") as events:
        events.send({"event": "auth", "token": planted.wrong_token})
        assert events.wait_closed() == 4401


def use_environment_and_registry(planted: Planted, reference: str) -> None:
    """A container with secrets in its environment, pulled with the operator's login and installed; and failed ones."""
    stack, servers = planted.stack, planted.servers
    logins = {planted.registry.address: {"username": USERNAME, "password": PASSWORD}}
    stack.registry_logins.write_text(json.dumps(logins))
    env = {"API_KEY": planted.env_value}
    body = servers.body(image=reference, env=env, install_script=SCRIPT)
    made = accepted(servers.post(body))
    planted.container = made["internal_id"]
    stack.wait_for_state(planted.container, "ready", 60)
    servers.act(planted.container, "start")
    stack.wait_for_state(planted.container, "running")
    lost = servers.body(image=f"{planted.registry.address}/nothing:1", env=env)
    failed = stack.wait_for_job(accepted(servers.post(lost))["job_id"], 60)
    assert failed["state"] == "failed"
    planted.call("GET", f"/jobs/{failed['job_id']}")
    planted.call("POST", "/containers", {**body, "internal_id": 7})
    planted.call("POST", "/containers", {**body, "env": {"not a name": planted.env_value}})
    broken = json.dumps({**body, "env": env})[:-1]
    headers = {"Content-Type": "application/json", "Idempotency-Key": "planted"}
    planted.answers.append(stack.api("POST", "/containers", data=broken, headers=headers))


def use_links(planted: Planted) -> None:
    """Signed links, good and bad, and a URL with a password."""
    volume = planted.servers.volume()["volume_id"]
    accepted(planted.call("POST", f"/volumes/{volume}/files", {"path": "a.txt", "content": "b"}))
    made = accepted(planted.stack.api("POST", f"/volumes/{volume}/links", json={"path": "a.txt", "action": "download"}))
    link = made["url"]
    assert requests.get(link, timeout=60).content == b"b"
    planted.links.append(link.rpartition("/")[2])
    planted.answers.append(requests.put(link, data=b"c", timeout=60))
    planted.answers.append(requests.get(f"{link}x", timeout=60))
    url = f"http://user:{planted.url_password}@127.0.0.1:1/x"
    planted.call("POST", f"/volumes/{volume}/pull", {"url": url, "path": "x"})


def check_logs(planted: Planted) -> None:
    paths = sorted(planted.stack.data.rglob("*.log"))
    assert {"api.log", "agent.log", "long.log", "quick.log", "files.log"} <= {path.name for path in paths}
    for path in paths:
        text = path.read_text(errors="replace")
        for secret in planted.everything():
            assert secret not in text, f"{path.name} holds a secret: {line_with(secret, text)}"


def check_refusals(planted: Planted) -> None:
    refusals = [answer for answer in planted.answers if answer.status_code >= 400]
    assert len(refusals) >= 10
    for answer in refusals:
        told = answer.text + str(answer.headers)
        for secret in planted.everything():
            assert secret not in told, answer.url


def check_engine(planted: Planted, engine: docker.DockerClient) -> None:
    """The engine knows of the environment what the process needs, and nothing of all else."""
    (server,) = engine.containers.list(all=True, filters={"name": f"^/lightd-{planted.container}$"})
    inspected = engine.api.inspect_container(server.id)
    assert f"API_KEY={planted.env_value}" in inspected["Config"].pop("Env")
    image = engine.api.inspect_image(inspected["Image"])
    assert image["RepoTags"] == [f"lightd/{planted.container}:latest"]
    for secret in planted.everything():
        assert secret not in json.dumps(inspected)
        assert secret not in json.dumps(image) + json.dumps(engine.api.history(image["Id"]))


def check_processes(planted: Planted) -> None:
    """Everybody on a host sees the arguments of its processes."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        for secret in planted.everything():
            assert secret not in arguments, path


def line_with(secret: str, text: str) -> str:
    return next((line for line in text.splitlines() if secret in line), "")


def plant_and_look(planted: Planted, engine: docker.DockerClient, image: Image) -> None:
    use_tokens(planted)
    use_links(planted)
    reference = planted.registry.push(image, f"planted-{secrets.token_hex(4)}:1")
    try:
        use_environment_and_registry(planted, reference)
        check_logs(planted)
        check_refusals(planted)
        check_engine(planted, engine)
        check_processes(planted)
    finally:
        with suppress(docker.errors.ImageNotFound):
            engine.images.remove(reference)


def test_no_secret_is_found_in_logs_refusals_labels_images_or_arguments(
    stack: Stack, servers: Servers, guarded_registry: Registry, engine: docker.DockerClient, busybox_image: Image
) -> None:
    plant_and_look(Planted(stack, servers, guarded_registry), engine, busybox_image)


@pytest.fixture
def talkative(engine: docker.DockerClient) -> Iterator[Stack]:
    """A Lightd that logs all it can."""
    yield from running_stack(engine, LIGHTD_LOG_LEVEL="debug")


@pytest.mark.long
def test_no_secret_is_logged_at_the_level_debug_either(
    talkative: Stack, guarded_registry: Registry, engine: docker.DockerClient, busybox_image: Image
) -> None:
    servers = Servers(talkative)
    plant_and_look(Planted(talkative, servers, guarded_registry), engine, busybox_image)
    servers.clean()


def test_only_their_owner_can_read_the_files_that_hold_secrets(stack: Stack) -> None:
    for name in ("secret", "registry-logins.json"):
        assert (stack.data / name).stat().st_mode & 0o077 == 0
