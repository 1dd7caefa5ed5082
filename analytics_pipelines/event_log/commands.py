"""The commands of the log: `events`, and those of audit and erasure beside it."""

from __future__ import annotations

import json
import logging
import os
import select
import sys
import threading
from contextlib import contextmanager, suppress
from itertools import chain, islice
from typing import TYPE_CHECKING

import click

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import audit_commands, erasure_commands
from analytics_pipelines.event_log.audit_commands import PARTITIONS_GROUP, TRACE
from analytics_pipelines.event_log.schema_commands import SCHEMAS_GROUP

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from analytics_pipelines.event_log import Event

_NEWEST = 10
_WATCH_MILLISECONDS = 250


@click.group()
def events() -> None:
    """Look at the event log."""


@events.command()
@click.option("--follow", is_flag=True, help="Go on with new events as they settle, until Ctrl-C.")
@click.option("--tenant", help="Only events of this tenant.")
@click.option("--type", "event_types", multiple=True, help="Only events of this type; may be given several times.")
@click.option("--stream", help="Only events of this stream.")
@click.option("--after", type=click.IntRange(min=0), help="Begin past this position, not with the newest events.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help=f"With --after: end after so many. Otherwise: begin with so many of the newest; {_NEWEST} unless given.",
)
def tail(  # noqa: PLR0913 - the options
    *,
    follow: bool,
    tenant: str | None,
    event_types: tuple[str, ...],
    stream: str | None,
    after: int | None,
    limit: int | None,
) -> None:
    """Print events in order of position, each as one line of CloudEvents JSON."""
    from analytics_pipelines.connections import open_pool
    from analytics_pipelines.event_log import Event, EventStore
    from analytics_pipelines.event_log.catalog import configured_catalog
    from analytics_pipelines.event_log.reading import require_known_tenant
    from analytics_pipelines.settings import load_settings

    types = list(event_types) or None
    # Ctrl-C may come in the middle of a query: that its transaction cannot be rolled back any more is nobody's concern.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    with open_pool(load_settings()) as pool:
        store = EventStore(pool)
        settled = store.settled_position()
        if after is None:
            newest = store.read_batches(
                up_to=settled,
                tenant_id=tenant,
                event_types=types,
                stream_id=stream,
                backward=True,
                batch_events=limit or _NEWEST,
            )
            found: Iterator[Event] = (event for batch in islice(newest, 1) for event in reversed(batch))
            limit = None
        else:
            found = store.read(after=after, up_to=settled, tenant_id=tenant, event_types=types, stream_id=stream)
        for unknown in sorted(set(event_types) - {name for name, _ in configured_catalog().validators}):
            click.echo(f"{unknown!r} is no event type of the catalog: see docs/events.md, and your schemas", err=True)
        try:
            with pool.connection() as connection:
                require_known_tenant(connection, tenant)
        except PipelinesError as error:
            if not follow:
                raise
            click.echo(f"{error}, or wait: what it sends is printed", err=True)
        if not follow:
            _print(islice(found, limit))
            return
        start = max(settled, after or 0)
        with (
            suppress(KeyboardInterrupt),  # how following ends
            store.subscribe(after=start, tenant_id=tenant, event_types=types, stream_id=stream) as subscription,
            _closed_with_output(subscription.close),
        ):
            following = (event for event in subscription if isinstance(event, Event))
            _print(islice(chain(found, following), limit))


def _print(found: Iterable[Event]) -> None:
    try:
        for event in found:
            click.echo(_line(event))
    except BrokenPipeError:
        # Whoever read has seen enough. Python flushes the stream once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _line(event: Event) -> str:
    """Write an event as CloudEvents JSON, as `pipelines ingest` reads it, with where it stands in the log."""
    facts = {
        "specversion": "1.0",
        "id": event.event_id,
        "source": event.source,
        "type": event.event_type,
        "subject": event.stream_id,
        "time": event.occurred_at.isoformat(),
        "tenantid": event.tenant_id,
        "dataschemaversion": event.schema_version,
        "sequence": event.sequence,
        "correlationid": event.correlation_id,
        "causationid": event.causation_id,
        "position": event.position,
        "streamversion": event.stream_version,
        "recordedtime": event.recorded_at.isoformat(),
    }
    envelope = json.dumps({name: value for name, value in facts.items() if value is not None}, ensure_ascii=False)
    return f'{envelope[:-1]}, "data": {event.data_json}}}'


@contextmanager
def _closed_with_output(close: Callable[[], None]) -> Generator[None]:
    """Call `close` when whoever reads our output has gone: without an event there is no write that would tell."""
    done = threading.Event()

    def watch() -> None:
        output = select.poll()
        output.register(sys.stdout.fileno(), 0)  # errors and hang-ups are always reported
        while not done.is_set():
            if output.poll(_WATCH_MILLISECONDS):
                close()
                return

    watching = threading.Thread(target=watch, name="closed-output", daemon=True)
    watching.start()
    try:
        yield
    finally:
        done.set()
        watching.join()


events.add_command(SCHEMAS_GROUP)
events.add_command(PARTITIONS_GROUP)
events.add_command(TRACE)

COMMANDS = [events, *audit_commands.COMMANDS, *erasure_commands.COMMANDS]
