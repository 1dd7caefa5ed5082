-- Sagas: how far each has come. What they did is in the log; these rows let a runner go on after a kill.
create schema sagas authorization pipelines_runtime;
set local role pipelines_runtime;

create table sagas.executions (
    tenant_id text not null,
    saga_id text not null,
    saga text not null,
    status text not null default 'pending'
        check (status in ('pending', 'running', 'compensating', 'completed', 'compensated', 'inbox')),
    request_event_id text not null,
    request_position bigint not null,
    correlation_id text not null,
    context jsonb not null check (jsonb_typeof(context) = 'object'),
    next_sequence bigint not null,
    attempts integer not null default 0,
    reason text,
    requested_at timestamptz not null,
    started_at timestamptz,
    ended_at timestamptz,
    primary key (tenant_id, saga_id),
    check ((ended_at is not null) = (status in ('completed', 'compensated', 'inbox'))),
    check (reason is not null or status not in ('compensating', 'compensated', 'inbox'))
);
create index executions_unfinished on sagas.executions (saga, requested_at, saga_id) where ended_at is null;

comment on table sagas.executions is 'One row per tenant and saga: a request being answered, and how far it has come';
comment on column sagas.executions.tenant_id is 'Whose request it is';
comment on column sagas.executions.saga_id is 'Made of the identity of the request: the same request is the same saga';
comment on column sagas.executions.saga is 'Name of the saga';
comment on column sagas.executions.status is 'pending, running or compensating; at the end completed, compensated or inbox (an operator must look)';
comment on column sagas.executions.request_event_id is 'Id of the event that asked for it';
comment on column sagas.executions.request_position is 'Position of that event in the log';
comment on column sagas.executions.correlation_id is 'Correlation of the request, else the saga_id; every event of the saga carries it';
comment on column sagas.executions.context is 'Payload of the request';
comment on column sagas.executions.next_sequence is 'Sequence of the next event that the saga appends, at the event time of the request';
comment on column sagas.executions.attempts is 'How often a runner has taken the saga up';
comment on column sagas.executions.reason is 'Why it is or was compensated, or waits in the inbox';
comment on column sagas.executions.requested_at is 'Event time of the request (UTC)';
comment on column sagas.executions.started_at is 'When a runner first took it up (UTC, wall clock)';
comment on column sagas.executions.ended_at is 'When it ended (UTC, wall clock)';

create table sagas.steps (
    tenant_id text not null,
    saga_id text not null,
    step text not null,
    kind text not null check (kind in ('action', 'compensation')),
    status text not null check (status in ('running', 'completed', 'failed')),
    attempt integer not null,
    started_at timestamptz not null,
    ended_at timestamptz,
    result jsonb,
    reason text,
    primary key (tenant_id, saga_id, step, kind),
    foreign key (tenant_id, saga_id) references sagas.executions (tenant_id, saga_id),
    check ((ended_at is not null) = (status <> 'running')),
    check ((reason is not null) = (status = 'failed'))
);

comment on table sagas.steps is 'One row per tenant, saga, step and kind: an action or its compensation that was begun';
comment on column sagas.steps.tenant_id is 'Whose saga it is';
comment on column sagas.steps.saga_id is 'Which saga';
comment on column sagas.steps.step is 'Name of the step';
comment on column sagas.steps.kind is 'action, or the compensation that takes it back';
comment on column sagas.steps.status is 'running (also after a kill, until it is taken up again), completed or failed';
comment on column sagas.steps.attempt is 'How often it was begun';
comment on column sagas.steps.started_at is 'When it was begun last (UTC, wall clock)';
comment on column sagas.steps.ended_at is 'When it completed or failed (UTC, wall clock)';
comment on column sagas.steps.result is 'What it gave to the steps after it';
comment on column sagas.steps.reason is 'Why it failed';
