"""The store is emptied under a running Lightd: nothing on the host is touched, `./lightd recover` brings it back."""

from __future__ import annotations

import json
from pathlib import Path

import docker
import pytest
import redis
import requests

from tests.support.answers import Answer, accepted
from tests.support.deadline import eventually
from tests.support.leftovers import leftovers
from tests.support.servers import Servers
from tests.support.stack import Stack

pytestmark = [pytest.mark.engine, pytest.mark.long]

_LOOKS = 2
"""Signs of life of an agent that sees an empty store: each comes after several sweeps."""


def test_an_emptied_store_is_filled_again_from_the_host(
    stack: Stack, servers: Servers, engine: docker.DockerClient, tmp_path: Path
) -> None:
    runs, rests, made, fails = four_containers(servers)
    await_second_copy(stack, fails)
    before = {name: lasting(servers.record(name)) for name in (runs, rests, made, fails)}
    output, held = servers.logs(runs), leftovers(engine, stack.node, stack.data)
    pid = engine.containers.get(f"lightd-{runs}").attrs["State"]["Pid"]

    assert "agree" in stack.lightd("doctor").stdout
    free, issued = servers.port("udp"), accepted(stack.api("POST", "/auth/tokens", json={"ttl": "1h"}))["token"]
    stack.lightd("backup", str(tmp_path / "backup"))
    refused = stack.lightd("restore", str(tmp_path / "backup"), check=False)
    assert refused.returncode == 1 and "not empty" in refused.stderr

    empty_the_stores(stack)
    servers.forget_jobs()
    eventually(lambda: recover_is_asked_for(stack), within_seconds=15, what="the agent's call for recover")
    assert "./lightd recover" in stack.lightd("status", check=False).stdout
    up = stack.lightd("up", check=False)
    assert up.returncode == 1 and "./lightd recover" in up.stderr
    examined = stack.lightd("doctor", "--fix", check=False)
    assert examined.returncode == 1 and "./lightd recover" in examined.stdout
    await_signs_of_life(stack)
    assert leftovers(engine, stack.node, stack.data) == held, "nothing on the host is deleted"
    refused = stack.api("POST", "/volumes", token=master_token(stack))
    assert refused.status_code == 503 and "./lightd recover" in refused.json()["error"], refused.text

    told = stack.lightd("recover").stdout
    assert f"container {runs} (running" in told and f"container {fails} (failed" in told
    assert {name: lasting(servers.record(name)) for name in before} == before
    assert engine.containers.get(f"lightd-{runs}").attrs["State"]["Pid"] == pid, "running stays running"
    eventually(lambda: servers.logs(runs) == output, within_seconds=15, what="the console from the log files")
    eventually(lambda: "error" not in ready(stack) and not ready(stack)["missing"], within_seconds=15, what="readiness")
    assert "there is nothing to recover" in stack.lightd("recover").stdout

    accepted(stack.api("POST", f"/containers/{made}/start"))
    eventually(lambda: "from the script" in servers.logs(made), within_seconds=15, what="the private image's program")
    for name in (runs, made):
        accepted(stack.api("POST", f"/containers/{name}/kill"))
        stack.wait_for_state(name, "ready")

    empty_the_stores(stack)
    stack.lightd("restore", str(tmp_path / "backup"))
    eventually(lambda: recover_is_asked_for(stack), within_seconds=15, what="the call for recover after a restore")
    assert "was there already" in stack.lightd("recover").stdout
    assert "agree" in stack.lightd("doctor").stdout
    assert not servers.in_use(free)
    assert stack.api("GET", f"/containers/{rests}", token=issued).status_code == 200
    eventually(lambda: "error" not in ready(stack) and not ready(stack)["missing"], within_seconds=15, what="readiness")


def four_containers(servers: Servers) -> tuple[str, str, str, str]:
    """One that runs with a port, one whose run has ended, one with a private image, one whose install failed."""
    port = servers.port()
    binding = [{"container_port": 80, "host_port": port["port"], "protocol": "tcp"}]
    runs = servers.run(
        "seq 1 300; exec sleep 600", ports=binding, env={"SECRET": "s3cret"}, labels={"team": "red"}, stop_timeout=7
    )
    eventually(lambda: "300" in servers.logs(runs), within_seconds=15, what="all output")
    rests = servers.create("exit 3")
    servers.act(rests, "start")
    eventually(lambda: servers.record(rests)["exit_code"] == 3, within_seconds=15, what="the end of the run")
    script = '#!/bin/sh\nprintf "#!/bin/sh\\necho from the script; sleep 600\\n" > /opt/run\nchmod 755 /opt/run\n'
    made = servers.create("exec /opt/run", install_script=f"#!/bin/sh\nmkdir -p /opt\n{script}")
    fails = accepted(servers.ask(install_script="exit 9"))["internal_id"]
    servers.stack.wait_for_state(fails, "failed")
    return runs, rests, made, fails


def lasting(record: Answer) -> Answer:
    """A container as the API shows it, without its job, how its last run ended and the time of its last change."""
    return {name: value for name, value in record.items() if name not in ("job_id", "last_end", "updated_at")}


def await_second_copy(stack: Stack, name: str) -> None:
    """Until the agent has written down that this container failed."""
    path = stack.data / "containers/.records" / f"{name}.json"
    eventually(
        lambda: path.exists() and json.loads(path.read_text())["state"] == "failed",
        within_seconds=20,
        what="the host's own copy",
    )


def empty_the_stores(stack: Stack) -> None:
    for name in ("store", "stream"):
        with redis.Redis.from_url(f"unix://{stack.data}/run/{name}.sock") as client:
            client.flushall()


def ready(stack: Stack) -> Answer:
    answer: Answer = requests.get(f"{stack.base_url}/readyz", timeout=60).json()
    return answer


def recover_is_asked_for(stack: Stack) -> bool:
    return f"{stack.node}/recover" in ready(stack).get("missing", [])


def await_signs_of_life(stack: Stack) -> None:
    """Until the agent has announced its host a few times more."""
    seen: set[str] = set()

    def look() -> bool:
        with redis.Redis.from_url(f"unix://{stack.data}/run/store.sock", decode_responses=True) as client:
            seen.add(client.hget(f"lightd:node:{stack.node}", "last_seen") or "")
        return len(seen) > _LOOKS

    eventually(look, within_seconds=30, what="more signs of life")


def master_token(stack: Stack) -> str:
    """The token, which the store has forgotten too and `token what` makes known again."""
    token = stack.lightd("token", "what").stdout.strip().removeprefix("Current Token: ")
    assert token == stack.token
    return token
