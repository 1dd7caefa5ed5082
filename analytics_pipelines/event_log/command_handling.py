"""Commands: a decision on the state that a stream's events give, appended as new events.

Defines `Aggregate` (how a stream is folded into a state), `Fact` (what a decision says has happened) and
`@command_handler`, which loads the state, decides, appends with the version it decided on, and begins again when
another writer was first. What a command means belongs into the room that knows it.
"""

from __future__ import annotations

import functools
import json
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import UUID, uuid5

from psycopg import errors
from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log.event import NewEvent
from analytics_pipelines.event_log.store import ConcurrencyError, EventStore, InvalidEventError
from analytics_pipelines.event_log.upcasting import OUTDATED, upcast

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection
    from psycopg_pool import ConnectionPool

State = TypeVar("State")
Command = TypeVar("Command")
Fold = Callable[[State, dict[str, Any]], State]
_log = logging.getLogger(__name__)

READ_BATCH = 5_000
MOST_FACTS = 1_000
ATTEMPTS = 10
LONGEST_PAUSE_SECONDS = 0.2
_NAMESPACE = UUID("2b0c9a5e-6d0f-5d35-9a52-1b8f5f0c7a11")

_READ = """
    select event_type, data::text, stream_version, schema_version from event_log.events
    where tenant_id = %s and stream_id = %s and stream_version > %s
    order by stream_version limit %s
"""
_FIND_SNAPSHOT = """
    select version, state::text from event_log.snapshots
    where tenant_id = %s and stream_id = %s and aggregate = %s and code_version = %s
"""
_KEEP_SNAPSHOT = """
    insert into event_log.snapshots as kept (tenant_id, stream_id, aggregate, code_version, version, state)
    values (%s, %s, %s, %s, %s, %s::jsonb)
    on conflict (tenant_id, stream_id, aggregate) do update
    set code_version = excluded.code_version, version = excluded.version, state = excluded.state,
        taken_at = excluded.taken_at
    where kept.code_version <> excluded.code_version or kept.version < excluded.version
"""
# The events of one command stand side by side in their stream, the first with number 0.
_FIND_RESULT = """
    select first.stream_id, later.stream_version, later.event_id
    from event_log.event_ids as known
    left join event_log.events as first on first.position = known.position
    left join event_log.events as later on later.tenant_id = first.tenant_id and later.stream_id = first.stream_id
        and later.stream_version between first.stream_version and first.stream_version + %(most)s
        and later.causation_id = first.causation_id and later.source = first.source
    where known.tenant_id = %(tenant_id)s and known.source = %(source)s and known.event_id = %(event_id)s
    order by later.stream_version
"""


@dataclass(frozen=True, slots=True)
class Fact:
    """What a decision says has happened: the type of the event and its payload. The envelope is the handler's."""

    event_type: str
    data: Mapping[str, Any]
    schema_version: int = 1


@dataclass(frozen=True, slots=True)
class Handled:
    """What became of a command: the stream's version after its events, and their ids; none when it changed nothing."""

    version: int
    event_ids: tuple[str, ...]


@dataclass(frozen=True)
class Aggregate(Generic[State]):
    """How the events of a stream are folded into a state.

    Attributes:
        name: what it is called ("order").
        initial: makes the state of a stream without events, anew at each call: a class will do.
        folds: by event type, the function from state and payload to the next state; it may change the state it is given
            and return it. Numbers with a fraction are `Decimal`. Events of other types are passed over.
        code_version: to be changed with the folds: snapshots of another version are not used.
        snapshot_every: after so many replayed events the state is kept, as JSON by its types; None for never.
    """

    name: str
    initial: Callable[[], State]
    folds: Mapping[str, Fold[State]]
    code_version: str = "1"
    snapshot_every: int | None = 1_000

    def load(self, connection: Connection, tenant_id: str, stream_id: str) -> tuple[State, int]:
        """Return the state of a stream and its version, 0 when it has no event.

        Raises:
            PipelinesError: events that are needed stand in a partition that was detached.
        """
        state, version = self._snapshot(connection, tenant_id, stream_id) or (self.initial(), 0)
        known = version
        for event_type, data, version in _read(connection, tenant_id, stream_id, known):  # noqa: B007 - the last one
            fold = self.folds.get(event_type)
            if fold is not None:
                state = fold(state, data)
        if self.snapshot_every is not None and version - known >= self.snapshot_every:
            self._keep(connection, tenant_id, stream_id, version, state)
        return state, version

    @functools.cached_property
    def _json(self) -> TypeAdapter[State]:
        try:
            return TypeAdapter(type(self.initial()))
        except PydanticSchemaGenerationError as error:
            raise PipelinesError(
                f"the state of {self.name} cannot be kept as JSON: {str(error).splitlines()[0]}; make it a dataclass "
                "with typed fields, or set snapshot_every to None"
            ) from None

    def _snapshot(self, connection: Connection, tenant_id: str, stream_id: str) -> tuple[State, int] | None:
        if self.snapshot_every is None:
            return None
        key = [tenant_id, stream_id, self.name, self.code_version]
        row = connection.execute(_FIND_SNAPSHOT, key).fetchone()
        if row is None:
            return None
        try:
            return self._json.validate_json(row[1]), row[0]
        except ValidationError as error:
            _log.warning("snapshot of %s of %s passed over: %s", stream_id, tenant_id, str(error).splitlines()[0])
            return None

    def _keep(self, connection: Connection, tenant_id: str, stream_id: str, version: int, state: State) -> None:
        """Keep a state, unless it would not read back as it is: then the stream is replayed each time."""
        try:
            text = self._json.dump_json(state).decode()
            kept = self._json.validate_json(text) == state
            if kept:
                key = [tenant_id, stream_id, self.name, self.code_version]
                with connection.transaction():
                    connection.execute(_KEEP_SNAPSHOT, [*key, version, text])
        except (ValueError, errors.DataError):
            kept = False
        if not kept:
            _log.warning("the state of %s of %s is not kept: it is not the same as JSON", stream_id, tenant_id)


class CommandHandler(Generic[State, Command]):
    """A decision with its aggregate, called with a pool and a command. Made by `command_handler`."""

    def __init__(
        self,
        decide: Callable[[State, Command], Sequence[Fact]],
        aggregate: Aggregate[State],
        *,
        source: str,
        attempts: int,
    ) -> None:
        """Take the decision; nothing is read or written yet."""
        functools.update_wrapper(self, decide)
        self.decide = decide
        self.aggregate = aggregate
        self._source = source
        self._attempts = attempts

    def __call__(  # noqa: PLR0913 - the command's envelope, by name
        self,
        pool: ConnectionPool,
        tenant_id: str,
        stream_id: str,
        command: Command,
        *,
        command_id: str,
        correlation_id: str | None = None,
        occurred_at: datetime | None = None,
    ) -> Handled:
        """Handle a command: decide on the stream's state and append what the decision says has happened.

        The same command id again appends nothing and returns the first result, whatever the command then is. A command
        that was refused, or changed nothing, left no trace: it is decided anew.

        Args:
            pool: runtime sessions.
            tenant_id: whose stream.
            stream_id: the stream that the command is about.
            command: what the decision is asked; only the decision looks into it.
            command_id: its id, unique within the handler's source; it becomes the events' causation id.
            correlation_id: what ties together all that one request caused.
            occurred_at: event time of what happens; now, when none is given.

        Raises:
            ConcurrencyError: other writers were first at every attempt.
            InvalidEventError: the decision gave an event that is not valid.
            PipelinesError: the command id was used for another stream.
        """
        occurred_at = occurred_at or datetime.now(UTC)
        for attempt in range(self._attempts):
            with pool.connection() as connection:
                # In this order: the same command, handled elsewhere between the two, shows in the result.
                state, version = self.aggregate.load(connection, tenant_id, stream_id)
                known = self._first_result(connection, tenant_id, stream_id, command_id)
                if known is not None:
                    return known
            facts = self.decide(state, command)
            if not facts:
                return Handled(version, ())
            events = self._events(stream_id, facts, command_id, correlation_id, occurred_at)
            try:
                version = EventStore(pool).append(tenant_id, stream_id, events, expected_version=version)
            except ConcurrencyError:
                if attempt + 1 == self._attempts:
                    raise
                # Those who met once do not meet again at the same moment.
                time.sleep(random.uniform(0, min(LONGEST_PAUSE_SECONDS, 0.002 * 2**attempt)))  # noqa: S311 - no secret
            except InvalidEventError:
                # Either the decision is wrong, or the same command was handled elsewhere since we looked.
                with pool.connection() as connection:
                    known = self._first_result(connection, tenant_id, stream_id, command_id)
                if known is None:
                    raise
                return known
            else:
                return Handled(version, tuple(event.event_id for event in events))
        raise AssertionError

    def _events(
        self,
        stream_id: str,
        facts: Sequence[Fact],
        command_id: str,
        correlation_id: str | None,
        occurred_at: datetime,
    ) -> list[NewEvent]:
        if len(facts) > MOST_FACTS:
            raise InvalidEventError(f"command {command_id} decided {len(facts)} events; {MOST_FACTS} are the most")
        return [
            NewEvent(
                source=self._source,
                event_id=_event_id(command_id, number),
                stream_id=stream_id,
                event_type=fact.event_type,
                occurred_at=occurred_at,
                data=fact.data,
                schema_version=fact.schema_version,
                sequence=number,
                correlation_id=correlation_id,
                causation_id=command_id,
            )
            for number, fact in enumerate(facts)
        ]

    def _first_result(self, connection: Connection, tenant_id: str, stream_id: str, command_id: str) -> Handled | None:
        """Return what became of a command that was handled before."""
        arguments = {
            "tenant_id": tenant_id,
            "source": self._source,
            "event_id": _event_id(command_id, 0),
            "most": MOST_FACTS,
        }
        rows: list[Any] = connection.execute(_FIND_RESULT, arguments).fetchall()
        if not rows:
            return None
        if rows[0][0] is None:
            raise PipelinesError(
                f"command {command_id} of {tenant_id} was handled long ago, its events stand in a partition that was "
                "detached; nothing was appended"
            )
        if rows[0][0] != stream_id:
            raise PipelinesError(
                f"command {command_id} of {tenant_id} was given to stream {rows[0][0]}, not {stream_id}; use a new id"
            )
        return Handled(rows[-1][1], tuple(row[2] for row in rows))


def command_handler(
    aggregate: Aggregate[State], *, source: str = "commands", attempts: int = ATTEMPTS
) -> Callable[[Callable[[State, Command], Sequence[Fact]]], CommandHandler[State, Command]]:
    """Make a command's handler of a plain function that decides: `decide(state, command) -> facts`.

    The function reads and writes nothing; it may be called again, with a newer state, when another writer was first. It
    refuses a command by raising an error of its own, which reaches the caller. Called by itself in a test, it needs no
    database: `handler.decide(state, command)`.

    Args:
        aggregate: how the stream is folded into the state.
        source: the source of the events; identity is tenant, source and an id made of the command's.
        attempts: how often to decide at most before `ConcurrencyError` reaches the caller.
    """
    return functools.partial(CommandHandler, aggregate=aggregate, source=source, attempts=attempts)


def _event_id(command_id: str, number: int) -> str:
    return str(uuid5(_NAMESPACE, f"{command_id}/{number}"))


def _read(
    connection: Connection, tenant_id: str, stream_id: str, after: int
) -> Iterator[tuple[str, dict[str, Any], int]]:
    """Yield type, newest form of the payload and version of a stream's events past a version, without a hole."""
    while True:
        rows: list[Any] = connection.execute(_READ, [tenant_id, stream_id, after, READ_BATCH]).fetchall()
        if not rows:
            return
        types, texts, versions, schema_versions = zip(*rows, strict=True)
        if versions[-1] != after + len(rows):
            raise PipelinesError(
                f"stream {stream_id} of {tenant_id} cannot be replayed from version {after + 1}: earlier events stand "
                "in a partition that was detached; attach it again"
            )
        # One document for all: half the time of one for each.
        payloads = json.loads(f"[{','.join(texts)}]", parse_float=Decimal)
        kinds = list(zip(types, schema_versions, strict=True))
        if not OUTDATED.isdisjoint(kinds):
            payloads = [upcast(*kind, payload)[1] for kind, payload in zip(kinds, payloads, strict=True)]
        yield from zip(types, payloads, versions, strict=True)
        if len(rows) < READ_BATCH:
            return
        after = versions[-1]
