"""The runner: carries a saga to its end, whatever is killed on the way.

Defines `Runner`. Each transition commits in one transaction: the rows in `sagas`, the saga's own event, and what the
step appends to the log. One session holds the saga's lock and makes its transactions, so that losing the lock means
losing the right to commit. What comes next is decided in `transitions.py`; no Dagster here.

Events of a saga happen at the time of the request, told apart by `sequence`: they are the request's consequence, and a
reaction of today to a request of 2017 must not move the tenant's watermark to today. When it really ran is log time
(`recorded_at`), and `started_at` and `ended_at` in `sagas`.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from psycopg.types.json import Jsonb

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import EventStore, NewEvent
from analytics_pipelines.sagas import executions
from analytics_pipelines.sagas.catalog import SAGAS
from analytics_pipelines.sagas.saga import Effect, StepContext, StepFailedError
from analytics_pipelines.sagas.transitions import Act, Compensate, End, Start, next_transition

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from psycopg import Connection
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.sagas.executions import Execution
    from analytics_pipelines.sagas.saga import Action, Saga, Step

SOURCE = "sagas"

_BEGIN_STEP = """
    insert into sagas.steps (tenant_id, saga_id, step, kind, status, attempt, started_at)
    values (%s, %s, %s, %s, 'running', 1, %s)
    on conflict (tenant_id, saga_id, step, kind) do update set
        attempt = steps.attempt + 1, started_at = excluded.started_at
"""

_END_STEP = """
    update sagas.steps
    set status = %s, ended_at = %s, result = %s, reason = %s
    where tenant_id = %s and saga_id = %s and step = %s and kind = %s
"""


class SagaBusyError(PipelinesError):
    """Another runner is at work on the saga."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One try at a step: its action or its compensation."""

    execution: Execution
    step: Step
    kind: str
    action: Action


def _now() -> datetime:
    return datetime.now(UTC)


class Runner:
    """Runs sagas over a pool of runtime sessions. Safe to share between threads and processes."""

    def __init__(
        self, pool: ConnectionPool, sagas: Mapping[str, Saga] = SAGAS, clock: Callable[[], datetime] = _now
    ) -> None:
        """Take the pool, the sagas by name, and the clock that says when something really ran."""
        self._pool = pool
        self._store = EventStore(pool)
        self._sagas = sagas
        self._clock = clock

    def run(self, tenant_id: str, saga_id: str) -> str:
        """Carry a saga to its end and return its status: completed, compensated or inbox.

        Raises:
            SagaBusyError: another runner is at work on it.
            PipelinesError: the tenant has no such saga, or nobody declares it any more.
        """
        self.start(tenant_id, saga_id)
        return self.finish(tenant_id, saga_id)

    def start(self, tenant_id: str, saga_id: str) -> str:
        """Take a saga up, for the first time or again, and return its status. Raises what `run` raises."""
        with self._held(tenant_id, saga_id) as session:
            session.execute(
                "update sagas.executions set attempts = attempts + 1"
                " where tenant_id = %s and saga_id = %s and ended_at is null",
                [tenant_id, saga_id],
            )
            return self._carry(session, tenant_id, saga_id, lambda execution: execution.status != "pending")

    def advance(self, tenant_id: str, saga_id: str, step: str) -> str:
        """Carry a saga on until a step has completed, or some step has failed, and return its status.

        Raises what `run` raises.
        """

        def decided(execution: Execution) -> bool:
            return execution.status == "compensating" or execution.steps.get((step, "action")) == "completed"

        with self._held(tenant_id, saga_id) as session:
            return self._carry(session, tenant_id, saga_id, decided)

    def finish(self, tenant_id: str, saga_id: str) -> str:
        """Carry a saga on to its end and return its status. Raises what `run` raises."""
        with self._held(tenant_id, saga_id) as session:
            return self._carry(session, tenant_id, saga_id, lambda _: False)

    def give_up(self, tenant_id: str, saga_id: str, reason: str) -> None:
        """Put a saga that has not ended into the operator's inbox.

        Raises:
            SagaBusyError: a runner is at work on it.
        """
        with self._held(tenant_id, saga_id) as session, session.transaction():
            given_up = session.execute(
                "update sagas.executions set status = 'inbox', reason = %s, ended_at = %s"
                " where tenant_id = %s and saga_id = %s and ended_at is null returning 1",
                [reason, self._clock(), tenant_id, saga_id],
            ).fetchone()
            if given_up is not None:
                execution = executions.load(session, tenant_id, saga_id)
                self._append(session, execution, [("suspended", _told(execution, "saga_suspended", reason=reason))])

    @contextmanager
    def _held(self, tenant_id: str, saga_id: str) -> Generator[Connection]:
        """Lend a session that holds the saga's lock; the server frees the lock when the session dies."""
        key = f"sagas.{tenant_id}.{saga_id}"
        with self._pool.connection() as session:
            session.autocommit = True
            try:
                row = session.execute("select pg_try_advisory_lock(hashtextextended(%s, 0))", [key]).fetchone()
                if row is None or not row[0]:
                    raise SagaBusyError(f"another runner is at work on saga {saga_id} of {tenant_id}; wait for it")
                try:
                    yield session
                finally:
                    if not session.closed:
                        session.execute("select pg_advisory_unlock(hashtextextended(%s, 0))", [key])
            finally:
                if not session.closed:
                    session.autocommit = False

    def _carry(self, session: Connection, tenant_id: str, saga_id: str, is_enough: Callable[[Execution], bool]) -> str:
        while True:
            execution = executions.load(session, tenant_id, saga_id)
            saga = self._sagas.get(execution.saga)
            if saga is None:
                raise PipelinesError(f"saga {saga_id} is a {execution.saga}, which nobody declares; deploy its code")
            transition = next_transition(saga, execution.status, execution.steps)
            if transition is None or is_enough(execution):
                return execution.status
            match transition:
                case Start():
                    self._start(session, execution)
                case Act(step):
                    self._try(session, _Attempt(execution, step, "action", step.action))
                case Compensate(step, compensation):
                    self._try(session, _Attempt(execution, step, "compensation", compensation))
                case End(status):
                    self._end(session, execution, status)

    def _start(self, session: Connection, execution: Execution) -> None:
        with session.transaction():
            session.execute(
                "update sagas.executions set status = 'running', started_at = %s where tenant_id = %s and saga_id = %s",
                [self._clock(), execution.tenant_id, execution.saga_id],
            )
            self._append(session, execution, [("started", _told(execution, "saga_started"))])

    def _try(self, session: Connection, attempt: _Attempt) -> None:
        """Run the action or the compensation of a step, and write down what became of it."""
        execution, step, kind = attempt.execution, attempt.step, attempt.kind
        if (step.name, kind) in execution.steps and not step.repeatable:
            reason = "an earlier attempt did not end: it may or may not have taken effect"
            self._fail(session, attempt, reason, "inbox")
            return
        with session.transaction():
            session.execute(_BEGIN_STEP, [execution.tenant_id, execution.saga_id, step.name, kind, self._clock()])
        try:
            with session.transaction():
                outcome = attempt.action(_context(session, attempt))
                done = "completed" if kind == "action" else "compensated"
                effects = [(f"{step.name}:{kind}:{number}", effect) for number, effect in enumerate(outcome.effects, 1)]
                told = _told(execution, f"saga_step_{done}", step=step.name)
                self._append(session, execution, [*effects, (f"{step.name}:{done}", told)])
                self._end_step(session, attempt, "completed", result=Jsonb(dict(outcome.result)))
        except StepFailedError as error:
            self._fail(session, attempt, str(error), "compensating" if kind == "action" else "inbox")

    def _fail(self, session: Connection, attempt: _Attempt, reason: str, status: str) -> None:
        """Write down that a step failed, and what the saga is now: compensating or in the inbox."""
        execution, step, kind = attempt.execution, attempt.step, attempt.kind
        failed = "failed" if kind == "action" else "compensation_failed"
        why = {"step": step.name, "reason": reason}
        told = [(f"{step.name}:{failed}", _told(execution, "saga_step_failed", **why))]
        if status == "inbox":
            told.append(("suspended", _told(execution, "saga_suspended", **why)))
        with session.transaction():
            self._append(session, execution, told)
            self._end_step(session, attempt, "failed", reason=reason)
            session.execute(
                "update sagas.executions set status = %s, reason = %s, ended_at = %s"
                " where tenant_id = %s and saga_id = %s",
                [
                    status,
                    f"{kind} of {step.name}: {reason}",
                    self._clock() if status == "inbox" else None,
                    execution.tenant_id,
                    execution.saga_id,
                ],
            )

    def _end_step(
        self,
        session: Connection,
        attempt: _Attempt,
        status: str,
        *,
        result: Jsonb | None = None,
        reason: str | None = None,
    ) -> None:
        of = attempt.execution
        session.execute(
            _END_STEP,
            [status, self._clock(), result, reason, of.tenant_id, of.saga_id, attempt.step.name, attempt.kind],
        )

    def _end(self, session: Connection, execution: Execution, status: str) -> None:
        with session.transaction():
            row = session.execute(
                "update sagas.executions set status = %s, ended_at = %s"
                " where tenant_id = %s and saga_id = %s returning reason",
                [status, self._clock(), execution.tenant_id, execution.saga_id],
            ).fetchone()
            why = {"reason": row[0]} if row and row[0] else {}
            self._append(session, execution, [(status, _told(execution, f"saga_{status}", **why))])

    def _append(self, session: Connection, execution: Execution, effects: Sequence[tuple[str, Effect]]) -> None:
        """Append events, named within the saga, in this transaction."""
        events = [
            NewEvent(
                source=SOURCE,
                event_id=f"{execution.saga_id}:{name}",
                stream_id=effect.stream_id,
                event_type=effect.event_type,
                occurred_at=execution.requested_at,
                data=effect.data,
                sequence=sequence,
                correlation_id=execution.correlation_id,
                causation_id=execution.request_event_id,
            )
            for sequence, (name, effect) in enumerate(effects, execution.next_sequence)
        ]
        if events:
            self._store.append_many(execution.tenant_id, events, connection=session)
        session.execute(
            "update sagas.executions set next_sequence = next_sequence + %s where tenant_id = %s and saga_id = %s",
            [len(events), execution.tenant_id, execution.saga_id],
        )


def run_due(pool: ConnectionPool, saga: Saga) -> list[str]:
    """Run every saga of one kind that is due, and return how each ended; one that is at work elsewhere is "busy"."""
    runner = Runner(pool)
    with pool.connection() as connection:
        waiting = executions.due(connection, saga)
    statuses: list[str] = []
    for one in waiting:
        try:
            statuses.append(runner.run(one.tenant_id, one.saga_id))
        except SagaBusyError:
            statuses.append("busy")
    return statuses


def _told(execution: Execution, event_type: str, **more: str) -> Effect:
    """Make the saga's own event."""
    data = {"saga_id": execution.saga_id, "saga": execution.saga, **more}
    return Effect(f"saga-{execution.saga_id}", event_type, data)


def _context(session: Connection, attempt: _Attempt) -> StepContext:
    execution = attempt.execution
    return StepContext(
        connection=session,
        tenant_id=execution.tenant_id,
        saga_id=execution.saga_id,
        request=execution.request,
        requested_at=execution.requested_at,
        results=execution.results,
        idempotency_key=f"{execution.saga_id}:{attempt.step.name}:{attempt.kind}",
    )
