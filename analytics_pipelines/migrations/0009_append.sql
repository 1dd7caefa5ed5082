-- Appending a few events in one round trip.
set local role pipelines_log_owner;

-- Runs with the caller's rights: it can do no more than the runtime role itself. Error PL001: another writer was first;
-- PL002: an identity is taken by other content; 23505 (unique_violation): an identity was taken in this moment, call again.
create function event_log.append(
    for_tenant text, expected_streams text[], expected_versions integer[], sources text[], event_ids text[],
    stream_ids text[], event_types text[], schema_versions smallint[], sequences bigint[], moments timestamptz[],
    correlation_ids text[], causation_ids text[], payloads jsonb[]
) returns table (stream_id text, version integer)
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    known bigint[];
    conflict text;
    changed text[];
    heads integer[];
    added integer[];
    wrong text;
begin
    select coalesce(array_agg(sent.ordinal), '{}'),
        min(sent.event_id) filter (where case
            when taken.content_hash is not null then taken.content_hash <> event_log.content_hash(
                sent.event_type, sent.stream_id, sent.schema_version, sent.sequence, sent.occurred_at, sent.data)
            else (stored.event_type, stored.stream_id, stored.schema_version, stored.sequence, stored.occurred_at,
                stored.data) is distinct from
                (sent.event_type, sent.stream_id, sent.schema_version, sent.sequence, sent.occurred_at, sent.data)
        end)
    into known, conflict
    from unnest(sources, event_ids, stream_ids, event_types, schema_versions, sequences, moments, payloads)
        with ordinality as sent (
            source, event_id, stream_id, event_type, schema_version, sequence, occurred_at, data, ordinal)
    cross join lateral (
        select i.position, i.content_hash from event_log.event_ids as i
        where i.tenant_id = for_tenant and i.source = sent.source and i.event_id = sent.event_id limit 1
    ) as taken
    left join lateral (
        select e.* from event_log.events as e where e.position = taken.position limit 1
    ) as stored on taken.content_hash is null;
    if conflict is not null then
        raise exception '% is in the log with other content; use a new id', conflict using errcode = 'PL002';
    end if;

    -- Heads are locked in sorted order, so that two writers never wait for each other in a circle.
    with fresh as (
        select sent.stream_id, count(*)::integer as events
        from unnest(stream_ids) with ordinality as sent (stream_id, ordinal)
        where sent.ordinal <> all (known)
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

    select format('stream %s of %s is at version %s, not %s', moved.stream_id, for_tenant, moved.version - moved.events,
        expected.version)
    into wrong
    from unnest(changed, heads, added) as moved (stream_id, version, events)
    join unnest(expected_streams, expected_versions) as expected (stream_id, version) using (stream_id)
    where expected.version <> moved.version - moved.events
    limit 1;
    if wrong is not null then
        raise exception '%; load it again', wrong using errcode = 'PL001';
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
        where sent.ordinal <> all (known)
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

    return query
    select head.stream_id, head.version from event_log.streams as head
    where head.tenant_id = for_tenant and head.stream_id = any (stream_ids);
end
$$;
comment on function event_log.append is 'Append events to their streams, all or none; what the log has already with the same content is passed over. Returns each stream''s version';
revoke execute on function event_log.append from public;
grant execute on function event_log.append to pipelines_runtime;
