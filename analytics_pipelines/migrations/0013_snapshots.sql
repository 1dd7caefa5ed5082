-- States of aggregates, kept so that a long stream need not be replayed from its first event. They are a cache: dropping
-- every row changes nothing but the time that a command takes.
set local role pipelines_log_owner;

create table event_log.snapshots (
    tenant_id text not null,
    stream_id text not null,
    aggregate text not null,
    version integer not null check (version > 0),
    code_version text not null,
    state jsonb not null,
    taken_at timestamptz not null default statement_timestamp(),
    primary key (tenant_id, stream_id, aggregate)
);
comment on table event_log.snapshots is 'One row per stream and aggregate: a state that replaying the stream gives again at any time';
comment on column event_log.snapshots.aggregate is 'The name of the aggregate whose fold made the state';
comment on column event_log.snapshots.version is 'The stream version up to which events are folded in';
comment on column event_log.snapshots.code_version is 'The fold''s code version; a state of another one is not used';
comment on column event_log.snapshots.state is 'The state as JSON';
comment on column event_log.snapshots.taken_at is 'When it was written (UTC)';

grant select, insert, update, delete on event_log.snapshots to pipelines_runtime;
