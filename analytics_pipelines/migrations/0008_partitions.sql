-- The log in partitions by position. A unique key of a partitioned table cannot leave out the partition's column, so
-- identities move to a table of their own, which also survives the detaching of old partitions.

-- dbt's staging views read the table that is about to become a partition; they are made again by the next build.
drop schema staging cascade;
create schema staging authorization pipelines_runtime;
delete from progress.builds where asset_key like 'staging/%';

set local role pipelines_log_owner;

create table event_log.event_ids (
    position bigint not null,
    tenant_id text not null,
    source text not null,
    event_id text not null,
    content_hash bigint,
    primary key (tenant_id, source, event_id)
);
comment on table event_log.event_ids is 'One row per event ever accepted: its identity, which stays when its partition is detached';
comment on column event_log.event_ids.position is 'Where the event stands in the log';
comment on column event_log.event_ids.content_hash is 'What event_log.content_hash() said of it, once its partition is detached; null before';
insert into event_log.event_ids (position, tenant_id, source, event_id)
select position, tenant_id, source, event_id from event_log.events;

create function event_log.content_hash(
    event_type text, stream_id text, schema_version smallint, sequence bigint, occurred_at timestamptz, data jsonb
) returns bigint
language sql stable parallel safe set search_path = pg_catalog, pg_temp as $$
    select hash_record_extended(row(event_type, stream_id, schema_version, sequence, occurred_at, data), 2017)
$$;
comment on function event_log.content_hash is 'A hash of what makes two events with one identity the same event; equal JSON values give equal hashes';

-- The table of today becomes the first partition. Nothing is copied.
alter table event_log.events rename to events_first;
alter table event_log.events_first drop constraint events_identity;
alter index event_log.events_pkey rename to events_first_pkey;
drop index event_log.events_stream;
drop index event_log.events_type;

-- Of the defaults only nextval() keeps COPY writing many rows at a time; a function of our own halved its speed. The
-- append lock is therefore taken by a trigger, once for a statement, before its first position is handed out.
create table event_log.events (
    position bigint not null default nextval('event_log.position_sequence') primary key,
    tenant_id text not null constraint events_tenant_id_check check (tenant_id <> ''),
    source text not null,
    event_id text not null constraint events_event_id_check check (event_id <> ''),
    stream_id text not null constraint events_stream_id_check check (stream_id <> ''),
    stream_version integer not null,
    event_type text not null,
    schema_version smallint not null,
    sequence bigint not null default 0,
    occurred_at timestamptz not null,
    recorded_at timestamptz not null default statement_timestamp(),
    correlation_id text,
    causation_id text,
    data jsonb not null constraint events_data_check check (jsonb_typeof(data) = 'object')
) partition by range (position);
create index events_stream on event_log.events (tenant_id, stream_id, stream_version);
create index events_type on event_log.events (tenant_id, event_type, position);

create function event_log.take_append_lock() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform pg_advisory_xact_lock_shared(2017, 1);
    return null;
end
$$;
comment on function event_log.take_append_lock() is 'A writer holds this lock, shared, from before its first position until its transaction has ended; see event_log.settle()';
create trigger append_lock before insert on event_log.events
for each statement execute function event_log.take_append_lock();

comment on table event_log.events is 'One row per event, in partitions by position. Rows are never changed or removed';
do $$
declare
    described record;
begin
    for described in
        select a.attname, col_description(a.attrelid, a.attnum) as text
        from pg_attribute as a where a.attrelid = 'event_log.events_first'::regclass and a.attnum > 0
    loop
        execute format('comment on column event_log.events.%I is %L', described.attname, described.text);
    end loop;
end
$$;

create table event_log.partitions (
    first_position bigint primary key,
    end_position bigint not null unique check (end_position > first_position),
    table_name text not null unique,
    detached_at timestamptz,
    export_digest text
);
comment on table event_log.partitions is 'One row per partition of the log, also of those that were exported and detached';
comment on column event_log.partitions.end_position is 'The first position that it no longer holds';
comment on column event_log.partitions.export_digest is 'SHA-256 of the file it was exported to before it was detached';

alter table event_log.events_first alter position drop default;
do $$
declare
    boundary bigint := 10000000 * (1 + (select last_value / 10000000 from event_log.position_sequence));
begin
    execute format('alter table event_log.events attach partition event_log.events_first for values from (0) to (%s)', boundary);
    insert into event_log.partitions values (0, boundary, 'events_first');
end
$$;
drop function event_log.next_position();

-- Partitions are made ahead of the writers: a whole one is always in reserve. Attaching, unlike creating one in place,
-- lets readers and writers go on.
create function event_log.make_partitions(ahead bigint default 10000000, size bigint default 10000000) returns bigint
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    made_up_to bigint := (select max(end_position) from event_log.partitions);
    needed bigint := (select last_value + ahead from event_log.position_sequence);
    name text;
begin
    if made_up_to > needed then
        return made_up_to;
    end if;
    perform pg_advisory_xact_lock(2017, 3);
    made_up_to := (select max(end_position) from event_log.partitions);
    while made_up_to <= needed loop
        name := format('events_from_%s', made_up_to);
        execute format('create table event_log.%I (like event_log.events including defaults including constraints including comments)', name);
        execute format('alter table event_log.%I add constraint bounds check (position >= %s and position < %s)',
            name, made_up_to, made_up_to + size);
        execute format('alter table event_log.events attach partition event_log.%I for values from (%s) to (%s)',
            name, made_up_to, made_up_to + size);
        execute format('alter table event_log.%I drop constraint bounds', name);
        insert into event_log.partitions values (made_up_to, made_up_to + size, name);
        made_up_to := made_up_to + size;
    end loop;
    return made_up_to;
end
$$;
comment on function event_log.make_partitions is 'Make partitions until so many positions beyond the newest have their place; returns the first position without one';
select event_log.make_partitions();

grant usage, select on sequence event_log.position_sequence to pipelines_runtime;
grant select on event_log.events, event_log.event_ids, event_log.partitions to pipelines_runtime;
grant insert (
    tenant_id, source, event_id, stream_id, stream_version, event_type, schema_version, sequence, occurred_at,
    correlation_id, causation_id, data
) on event_log.events to pipelines_runtime;
grant insert (position, tenant_id, source, event_id) on event_log.event_ids to pipelines_runtime;
revoke all on event_log.events_first from pipelines_runtime;
revoke execute on function event_log.content_hash, event_log.take_append_lock, event_log.make_partitions from public;
grant execute on function event_log.content_hash, event_log.make_partitions to pipelines_runtime;
