-- The event log: append-only by ownership. The runtime role may insert and read; it owns nothing here.
set local role pipelines_log_owner;

grant usage on schema event_log to pipelines_runtime;

create sequence event_log.position_sequence as bigint cache 1;

-- A writer holds this lock, shared, from before its first position until its transaction has ended. Whoever reads the
-- sequence's value and then waits for the holders of that moment has seen the end of every position handed out so far.
create function event_log.next_position() returns bigint
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform pg_advisory_xact_lock_shared(2017, 1);
    return nextval('event_log.position_sequence');
end
$$;
comment on function event_log.next_position() is 'The next position of the log, handed out under the append lock';

create table event_log.events (
    position bigint not null default event_log.next_position() primary key,
    tenant_id text not null check (tenant_id <> ''),
    source text not null,
    event_id text not null check (event_id <> ''),
    stream_id text not null check (stream_id <> ''),
    stream_version integer not null,
    event_type text not null,
    schema_version smallint not null,
    sequence bigint not null default 0,
    occurred_at timestamptz not null,
    recorded_at timestamptz not null default clock_timestamp(),
    correlation_id text,
    causation_id text,
    data jsonb not null check (jsonb_typeof(data) = 'object'),
    constraint events_identity unique (tenant_id, source, event_id)
);
-- The state of one stream as of a moment is read from here.
create index events_stream on event_log.events (tenant_id, stream_id, occurred_at);
create index events_type on event_log.events (tenant_id, event_type, position);

comment on table event_log.events is 'One row per event. Rows are never changed or removed';
comment on column event_log.events.position is 'Order of the log; gaps are normal. Decides no value';
comment on column event_log.events.tenant_id is 'Whose event it is';
comment on column event_log.events.source is 'Who produced it; identity is tenant_id, source, event_id';
comment on column event_log.events.event_id is 'The producer''s id of the event';
comment on column event_log.events.stream_id is 'The aggregate it belongs to';
comment on column event_log.events.stream_version is 'Its number within the stream in order of arrival, from 1';
comment on column event_log.events.event_type is 'What happened: snake_case, past tense';
comment on column event_log.events.schema_version is 'Version of the payload''s schema';
comment on column event_log.events.sequence is 'Order among events that occurred at the same moment';
comment on column event_log.events.occurred_at is 'Event time (UTC)';
comment on column event_log.events.recorded_at is 'Log time (UTC)';
comment on column event_log.events.correlation_id is 'Ties together all that one request caused';
comment on column event_log.events.causation_id is 'Id of the event or command that caused it';
comment on column event_log.events.data is 'The payload, as sent';

create table event_log.streams (
    tenant_id text not null,
    stream_id text not null,
    version integer not null,
    primary key (tenant_id, stream_id)
);
comment on table event_log.streams is 'One row per stream: its newest version, the lock of those who append to it';

create table event_log.quarantine (
    tenant_id text not null,
    quarantine_id bigint generated always as identity,
    kind text not null check (kind in ('malformed', 'unknown_type', 'invalid', 'conflict')),
    reason text not null,
    source text,
    event_id text,
    origin text not null,
    bytes bytea not null,
    digest bytea not null,
    quarantined_at timestamptz not null default clock_timestamp(),
    primary key (tenant_id, quarantine_id),
    unique (tenant_id, digest, kind)
);
comment on table event_log.quarantine is 'One row per distinct event that was refused, with its bytes and the reason';
comment on column event_log.quarantine.kind is 'malformed (no event at all), unknown_type, invalid (payload breaks its schema), conflict (same identity, other content)';
comment on column event_log.quarantine.origin is 'Where it came from: a file and line, or the producer';
comment on column event_log.quarantine.bytes is 'The event as it was sent';
comment on column event_log.quarantine.digest is 'SHA-256 of the bytes: what is sent again is kept once';

create table event_log.settled (
    only_row boolean primary key default true check (only_row),
    position bigint not null,
    candidate bigint,
    candidate_writers text[] not null default '{}'
);
insert into event_log.settled (position) values (0);
comment on table event_log.settled is 'One row: up to which position every writer has ended, and the next candidate with the writers it waits for';

-- Up to which position is the log settled? Never waits. Each call moves the answer as far as is certain: a candidate is
-- the sequence's value at a moment; it is settled when the writers of that moment have ended. Postgres makes a commit
-- visible before it releases the locks, so a reader that takes its snapshot afterwards sees all of it.
create function event_log.settle() returns bigint
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    state event_log.settled;
    handed_out bigint;
    writers text[];
begin
    if pg_is_in_recovery() then
        raise exception 'this server is a standby: projections read from the primary only'
            using errcode = 'read_only_sql_transaction';
    end if;
    select * into state from event_log.settled for update;
    -- The order of the next two matters: first the value, then the writers.
    select case when is_called then last_value else 0 end into handed_out from event_log.position_sequence;
    select coalesce(array_agg(l.virtualtransaction), '{}') into writers
    from pg_locks as l
    where l.locktype = 'advisory' and l.granted and l.mode = 'ShareLock'
        and l.database = (select d.oid from pg_database as d where d.datname = current_database())
        and l.classid = 2017 and l.objid = 1 and l.objsubid = 2;

    if state.candidate is not null and not (state.candidate_writers && writers) then
        state.position := greatest(state.position, state.candidate);
        state.candidate := null;
    end if;
    if writers = '{}' then
        state.position := greatest(state.position, handed_out);
        state.candidate := null;
    elsif state.candidate is null and handed_out > state.position then
        state.candidate := handed_out;
        state.candidate_writers := writers;
    end if;
    update event_log.settled
    set position = state.position, candidate = state.candidate, candidate_writers = state.candidate_writers
    where (position, candidate) is distinct from (state.position, state.candidate);
    return state.position;
end
$$;
comment on function event_log.settle() is 'The settled position, moved as far as is certain now. Call it in a transaction of its own, before the one that reads';

create table event_log.files (
    tenant_id text not null,
    digest text not null,
    name text not null,
    accepted bigint not null,
    duplicates bigint not null,
    quarantined bigint not null,
    ingested_at timestamptz not null default clock_timestamp(),
    primary key (tenant_id, digest)
);
comment on table event_log.files is 'One row per tenant and content of an ingested file: a file sent twice or renamed is known';

-- Positions and log time come from their defaults alone: no session may choose them.
grant select on event_log.events to pipelines_runtime;
grant insert (
    tenant_id, source, event_id, stream_id, stream_version, event_type, schema_version, sequence, occurred_at,
    correlation_id, causation_id, data
) on event_log.events to pipelines_runtime;
grant select, insert, update on event_log.streams to pipelines_runtime;
grant select on event_log.quarantine, event_log.settled to pipelines_runtime;
grant insert (tenant_id, kind, reason, source, event_id, origin, bytes, digest) on event_log.quarantine to pipelines_runtime;
grant select, insert on event_log.files to pipelines_runtime;
revoke execute on all functions in schema event_log from public;
grant execute on all functions in schema event_log to pipelines_runtime;
