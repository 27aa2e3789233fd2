"""What a container is made from, and what is kept out of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fleet.errors import Forbidden
from fleet.lifecycle import InstallState, State
from fleet.models import Container, Limits, PortBinding, Spec
from fleet.settings import Settings
from worker.operations.plans import allowed_mounts, install_plan, server_plan
from worker.runtime.base import ContainerPlan
from worker.runtime.docker_plan import engine_config

PORTS = (PortBinding("10.0.0.1", 30000, "udp", 30000), PortBinding("::", 8080, "tcp", 80))
SPEC = Spec("image:1", "run", Limits(512 * 1024**2, 0.5, 64, swap_bytes=1024**2, io_weight=200), env={"A": "b"})
CONTAINER = Container("a", "n1", "v", SPEC, PORTS, State.READY, InstallState.READY, None, "job", 0, 0)
SETTINGS = Settings(node="n1", network="lt")


def server(**changes: object) -> ContainerPlan:
    container = replace(CONTAINER, spec=replace(SPEC, **changes))
    return server_plan(SETTINGS, container, "image:1", Path("/volume"), Path("/data"))


def test_the_process_knows_its_ports_memory_and_name() -> None:
    env = server(env={"SERVER_PORT": "1", "HOME": "/elsewhere"}).env
    assert env["SERVER_IP"] == "10.0.0.1"
    assert (env["SERVER_PORT"], env["SERVER_PORTS"]) == ("30000", "30000,80")
    assert (env["SERVER_MEMORY"], env["P_SERVER_ID"]) == ("512", "a")
    assert env["HOME"] == "/elsewhere"


def test_the_engine_gets_every_limit() -> None:
    config = engine_config(server(), [], weight_supported=True)["HostConfig"]
    assert (config["Memory"], config["MemorySwap"]) == (512 * 1024**2, 513 * 1024**2)
    assert (config["NanoCpus"], config["PidsLimit"], config["BlkioWeight"]) == (500_000_000, 64, 200)
    assert (config["CapDrop"], config["CapAdd"], config["ReadonlyRootfs"]) == (["ALL"], [], True)
    assert config["PortBindings"] == {
        "30000/udp": [{"HostIp": "10.0.0.1", "HostPort": "30000"}],
        "80/tcp": [{"HostIp": "::", "HostPort": "8080"}],
    }


def test_a_kernel_that_cannot_weigh_disk_traffic_is_not_asked_to() -> None:
    assert "BlkioWeight" not in engine_config(server(), [], weight_supported=False)["HostConfig"]


def test_folders_that_an_image_declares_as_volumes_take_no_disk_space() -> None:
    config = engine_config(server(), ["/data", "/home/container/"], weight_supported=True)
    assert set(config["HostConfig"]["Tmpfs"]) == {"/tmp", "/data"}
    assert all("size=64m" in options for options in config["HostConfig"]["Tmpfs"].values())


def test_the_image_decides_neither_what_runs_nor_as_whom() -> None:
    config = engine_config(server(), [], weight_supported=True)
    assert (config["Entrypoint"], config["Cmd"]) == (["/bin/sh", "/app/data/entrypoint.sh"], None)
    assert (config["User"], config["Healthcheck"]) == ("1000:1000", {"Test": ["NONE"]})


def test_an_installer_is_root_with_the_capabilities_of_a_package_manager_and_no_ports() -> None:
    plan = install_plan(SETTINGS, CONTAINER, ("/app/data/install.sh",), Path("/volume"), Path("/data"))
    assert (plan.user, plan.read_only, plan.ports) == ("0:0", False, ())
    package_managers_need = {"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETUID", "SETGID", "SETFCAP", "KILL"}
    assert set(plan.capabilities) == package_managers_need | {"NET_BIND_SERVICE"}
    assert plan.env["A"] == "b"


def test_a_mount_must_lie_below_an_allowed_folder_also_through_links(tmp_path: Path) -> None:
    allowed, secret = tmp_path / "allowed", tmp_path / "secret"
    (allowed / "maps").mkdir(parents=True)
    secret.mkdir()
    (allowed / "escape").symlink_to(secret)
    settings = replace(SETTINGS, allowed_mounts=(str(allowed),))
    assert allowed_mounts(settings, {"/maps": str(allowed / "maps")}) == {"/maps": str(allowed / "maps")}
    (allowed / "deep").symlink_to(allowed / "escape")
    through_proc = Path(f"/proc/self/root{secret}")
    for source in (secret, allowed / "escape", allowed / "deep", allowed / ".." / "secret", through_proc, Path("/")):
        with pytest.raises(Forbidden):
            allowed_mounts(settings, {"/x": str(source)})
    with pytest.raises(Forbidden):
        allowed_mounts(SETTINGS, {"/maps": str(allowed / "maps")})


def test_what_lightd_works_with_is_never_mounted_also_below_an_allowed_folder(tmp_path: Path) -> None:
    data, socket = tmp_path / "lightd", tmp_path / "run" / "docker.sock"
    (data / "volumes").mkdir(parents=True)
    socket.parent.mkdir()
    (tmp_path / "link").symlink_to(data / "volumes")
    (tmp_path / "maps").mkdir()
    settings = replace(SETTINGS, data=data, engine=f"unix://{socket}", allowed_mounts=(str(tmp_path),))
    for source in (tmp_path, data, data / "volumes", tmp_path / "link", socket, socket.parent):
        with pytest.raises(Forbidden, match="never allowed"):
            allowed_mounts(settings, {"/x": str(source)})
    assert allowed_mounts(settings, {"/x": str(tmp_path / "maps")}) == {"/x": str(tmp_path / "maps")}
