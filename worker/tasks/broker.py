"""The Celery app. The record knows all jobs, so a message here is a hint that may be lost or doubled."""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu import Connection, Exchange, Queue

from fleet.settings import Settings

VISIBILITY_SECONDS = 12 * 3600
"""Longer than any job: an earlier redelivery would run a job beside itself."""

_CONNECT_SECONDS = 2
_ANSWER_SECONDS = 5
_RETRY = {"interval_start": 0.5, "interval_step": 0.5, "interval_max": 2}


class _SteadyConnection(Connection):
    """Tries again every two seconds at most, so that a worker is back soon after its broker, however long that took."""

    def ensure_connection(self, *args: Any, **options: Any) -> Connection:
        return super().ensure_connection(*args, **{**_RETRY, **options})


def create_celery(settings: Settings) -> Celery:
    """The app of this process; connects to nothing."""
    app = Celery("lightd", set_as_current=False)
    app.conf.update(
        broker_url=broker_url(settings.store_address),
        broker_transport_options=_transport(),
        broker_connection_timeout=_CONNECT_SECONDS,
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        result_backend=None,
        task_ignore_result=True,
        task_acks_late=False,
        task_publish_retry=False,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        task_send_sent_event=False,
    )
    app.amqp.Connection = _SteadyConnection
    return app


def queue_name(node: str, queue: str) -> str:
    """Name of a host's queue, which is also the key of its list in the record store."""
    return f"node.{node}.{queue}"


def queue_of(node: str, queue: str) -> Queue:
    """A host's queue behind the nameless exchange: publishing is one LPUSH, without any look-up."""
    name = queue_name(node, queue)
    return Queue(name, Exchange(""), routing_key=name)


def broker_url(store_address: str) -> str:
    """The record store's address as kombu spells it."""
    scheme, _, rest = store_address.partition("://")
    if scheme == "unix":
        path, _, query = rest.partition("?")
        return f"redis+socket://{path}" + (f"?{query.replace('db=', 'virtual_host=')}" if query else "")
    if scheme in ("valkey", "valkeys"):
        return f"{scheme.replace('valkey', 'redis')}://{rest}"
    return store_address


def _transport() -> dict[str, object]:
    return {
        "visibility_timeout": VISIBILITY_SECONDS,
        "priority_steps": [0],
        "socket_connect_timeout": _CONNECT_SECONDS,
        "socket_timeout": _ANSWER_SECONDS,
        # A publisher learns at once that the broker is away; consumers reconnect by their own rule, for ever.
        "max_retries": 0,
    }
