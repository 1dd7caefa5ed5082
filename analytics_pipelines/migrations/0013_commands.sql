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

-- Appending in fewer steps. What is known already is looked at only when there is some, and neither function sets the
-- search path, which cost a quarter of a single append: both run with the caller's rights and name every schema.
create or replace function event_log.take_append_lock() returns trigger
language plpgsql security invoker as $$
begin
    perform pg_catalog.pg_advisory_xact_lock_shared(2017, 1);
    return null;
end
$$;
alter function event_log.take_append_lock reset all;

create or replace function event_log.append(
    for_tenant text, expected_streams text[], expected_versions integer[], sources text[], event_ids text[],
    stream_ids text[], event_types text[], schema_versions smallint[], sequences bigint[], moments timestamptz[],
    correlation_ids text[], causation_ids text[], payloads jsonb[]
) returns table (stream_id text, version integer)
language plpgsql volatile as $$
#variable_conflict use_column
declare
    known bigint[];
    conflict text;
    changed text[];
    heads integer[];
    added integer[];
    wrong text;
begin
    select array_agg(sent.ordinal) into known
    from unnest(sources, event_ids) with ordinality as sent (source, event_id, ordinal)
    cross join lateral (
        select from event_log.event_ids as i
        where i.tenant_id = for_tenant and i.source = sent.source and i.event_id = sent.event_id limit 1
    ) as taken;

    if known is not null then
        select min(sent.event_id) into conflict
        from unnest(sources, event_ids, stream_ids, event_types, schema_versions, sequences, moments, payloads)
            with ordinality as sent (
                source, event_id, stream_id, event_type, schema_version, sequence, occurred_at, data, ordinal)
        cross join lateral (
            select i.position, i.content_hash from event_log.event_ids as i
            where i.tenant_id = for_tenant and i.source = sent.source and i.event_id = sent.event_id limit 1
        ) as taken
        left join lateral (
            select e.* from event_log.events as e where e.position = taken.position limit 1
        ) as stored on taken.content_hash is null
        where case
            when taken.content_hash is not null then taken.content_hash <> event_log.content_hash(
                sent.event_type, sent.stream_id, sent.schema_version, sent.sequence, sent.occurred_at, sent.data)
            else (stored.event_type, stored.stream_id, stored.schema_version, stored.sequence, stored.occurred_at,
                stored.data) is distinct from
                (sent.event_type, sent.stream_id, sent.schema_version, sent.sequence, sent.occurred_at, sent.data)
        end;
        if conflict is not null then
            raise exception '% is in the log with other content; use a new id', conflict using errcode = 'PL002';
        end if;
    end if;

    -- Heads are locked in sorted order, so that two writers never wait for each other in a circle.
    with fresh as (
        select sent.stream_id, count(*)::integer as events
        from unnest(stream_ids) with ordinality as sent (stream_id, ordinal)
        where known is null or sent.ordinal <> all (known)
        group by sent.stream_id
    ),
    moved as (
        insert into event_log.streams as head (tenant_id, stream_id, version)
        select for_tenant, fresh.stream_id, fresh.events from fresh order by fresh.stream_id collate "C"
        on conflict (tenant_id, stream_id) do update set version = head.version + excluded.version
        returning head.stream_id, head.version
    )
    select array_agg(moved.stream_id), array_agg(moved.version), array_agg(fresh.events)
    into changed, heads, added
    from moved join fresh using (stream_id);

    if cardinality(expected_streams) > 0 then
        select format('stream %s of %s is at version %s, not %s', moved.stream_id, for_tenant,
            moved.version - moved.events, expected.version)
        into wrong
        from unnest(changed, heads, added) as moved (stream_id, version, events)
        join unnest(expected_streams, expected_versions) as expected (stream_id, version) using (stream_id)
        where expected.version <> moved.version - moved.events
        limit 1;
        if wrong is not null then
            raise exception '%; load it again', wrong using errcode = 'PL001';
        end if;
    end if;

    with numbered as (
        select sent.*, moved.version - moved.events
            + row_number() over (partition by sent.stream_id order by sent.ordinal) as stream_version
        from unnest(sources, event_ids, stream_ids, event_types, schema_versions, sequences, moments, correlation_ids,
            causation_ids, payloads)
            with ordinality as sent (
                source, event_id, stream_id, event_type, schema_version, sequence, occurred_at, correlation_id,
                causation_id, data, ordinal)
        join unnest(changed, heads, added) as moved (stream_id, version, events) using (stream_id)
        where known is null or sent.ordinal <> all (known)
    ),
    inserted as (
        insert into event_log.events (
            tenant_id, source, event_id, stream_id, stream_version, event_type, schema_version, sequence, occurred_at,
            correlation_id, causation_id, data
        )
        select
            for_tenant, source, event_id, stream_id, stream_version, event_type, schema_version, sequence, occurred_at,
            correlation_id, causation_id, data
        from numbered order by ordinal
        returning position, tenant_id, source, event_id
    )
    insert into event_log.event_ids (position, tenant_id, source, event_id)
    select position, tenant_id, source, event_id from inserted;

    if known is null then
        return query select moved.stream_id, moved.version from unnest(changed, heads) as moved (stream_id, version);
    else
        return query
        select head.stream_id, head.version from event_log.streams as head
        where head.tenant_id = for_tenant and head.stream_id = any (stream_ids);
    end if;
end
$$;
alter function event_log.append reset all;
