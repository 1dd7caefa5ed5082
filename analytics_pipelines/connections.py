"""Connections to the two servers, from the settings; no Dagster.

Defines how a Postgres pool and a Redis client are opened and what a person reads when that fails. Every other module
takes a pool or a client as an argument.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from analytics_pipelines.errors import PipelinesError

if TYPE_CHECKING:
    from collections.abc import Generator

    from psycopg_pool import ConnectionPool
    from pydantic import SecretStr
    from redis import Redis

    from analytics_pipelines.settings import Settings

CONNECT_SECONDS = 5
# Every session of ours drops to this role, whatever its login may do: the log cannot be changed by accident.
RUNTIME_OPTIONS = "-c timezone=UTC -c role=pipelines_runtime"


@contextmanager
def open_pool(settings: Settings) -> Generator[ConnectionPool]:
    """Open a pool of runtime sessions (UTC, role `pipelines_runtime`), proved to work; close it after the block.

    Raises:
        PipelinesError: no server is configured, it does not answer, or it refuses the login.
    """
    from psycopg_pool import ConnectionPool

    url = database_url(settings)
    probe(url, RUNTIME_OPTIONS)
    arguments = {"connect_timeout": CONNECT_SECONDS, "options": RUNTIME_OPTIONS, "application_name": "pipelines"}
    pool: ConnectionPool = ConnectionPool(url, min_size=1, max_size=settings.pool_size, kwargs=arguments, timeout=30)
    with pool:
        yield pool


@contextmanager
def open_redis(settings: Settings) -> Generator[Redis]:
    """Open a client of the online store, proved to work; close it after the block.

    Raises:
        PipelinesError: no server is configured, it does not answer, or it refuses the login.
    """
    import redis

    url = _configured(settings.redis_url, "Redis", "PIPELINES_REDIS_URL")
    client = redis.Redis.from_url(url, decode_responses=True, socket_connect_timeout=CONNECT_SECONDS)
    try:
        client.ping()
    except redis.RedisError as error:
        raise PipelinesError(
            f"Redis at {address(url)} cannot be used: {error}; start it with `pipelines up` or correct "
            "PIPELINES_REDIS_URL"
        ) from None
    with client:
        yield client


def probe(url: str, options: str) -> None:
    """Connect once, so that the reason of a failure is read at once: a pool would retry in silence and hide it.

    Raises:
        PipelinesError: the server does not answer or refuses the login.
    """
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=CONNECT_SECONDS, options=options).close()
    except psycopg.Error as error:
        reason = " ".join(str(error).split()).removeprefix("connection failed: ")
        password = urlsplit(url).password
        reason = reason.replace(unquote(password), "*****").replace(password, "*****") if password else reason
        remedy = "run `pipelines migrate`" if "pipelines_runtime" in reason else "start it with `pipelines up`"
        raise PipelinesError(
            f"Postgres at {address(url)} cannot be used: {reason}; {remedy}, or correct PIPELINES_DATABASE_URL"
        ) from None


def database_url(settings: Settings) -> str:
    """Return the URL of the runtime login.

    Raises:
        PipelinesError: none is configured.
    """
    return _configured(settings.database_url, "Postgres", "PIPELINES_DATABASE_URL")


def admin_url(settings: Settings) -> str:
    """Return the URL of the login that migrations run as."""
    if settings.admin_database_url is not None:
        return settings.admin_database_url.get_secret_value()
    return database_url(settings)


def runtime_login(settings: Settings) -> tuple[str, str]:
    """Return the name and the password of the runtime login."""
    parts = urlsplit(database_url(settings))
    return unquote(parts.username or ""), unquote(parts.password or "")


def address(url: str) -> str:
    """Name a server by host and port, without its login."""
    parts = urlsplit(url)
    return f"{parts.hostname or 'localhost'}:{parts.port}" if parts.port else parts.hostname or "localhost"


def _configured(url: SecretStr | None, server: str, variable: str) -> str:
    if url is None:
        raise PipelinesError(f"no {server} is configured; run `pipelines up`, or set {variable} to a server of yours")
    return url.get_secret_value()
