-- Most events are new, and most appends go to one stream: then the log does not look for their identities first, but
-- leaves it to the unique index to refuse those it has; the store calls again, and has them looked up.
set local role pipelines_log_owner;

drop function event_log.append;

-- Runs with the caller's rights: it can do no more than the runtime role itself. Error PL001: another writer was first;
-- PL002: an identity is taken by other content; 23505 (unique_violation): the log has an identity, or it was taken in this
-- moment. Call again with look_up, also after PL001: a repeated call finds its stream moved on by itself.
create function event_log.append(
    for_tenant text, expected_streams text[], expected_versions integer[], sources text[], event_ids text[],
    stream_ids text[], event_types text[], schema_versions smallint[], sequences bigint[], moments timestamptz[],
    correlation_ids text[], causation_ids text[], payloads text[],
    look_up boolean
) returns table (stream_id text, version integer)
language plpgsql volatile as $$
#variable_conflict use_column
declare
    events integer := cardinality(event_ids);
    known bigint[] := '{}';
    conflict text;
    changed text[];
    heads integer[];
    added integer[];
    before integer[];  -- of each event: the version in its stream less its number among those sent; null: not new
    wrong text;
begin
    if look_up then
        select coalesce(array_agg(sent.ordinal), '{}'),
            min(sent.event_id) filter (where case
                when taken.content_hash is not null then taken.content_hash <> event_log.content_hash(
                    sent.event_type, sent.stream_id, sent.schema_version, sent.sequence, sent.occurred_at,
                    sent.data::jsonb)
                else (stored.event_type, stored.stream_id, stored.schema_version, stored.sequence, stored.occurred_at,
                    stored.data) is distinct from
                    (sent.event_type, sent.stream_id, sent.schema_version, sent.sequence, sent.occurred_at,
                    sent.data::jsonb)
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
    end if;

    if known = '{}' and stream_ids[1] = all (stream_ids) then
        insert into event_log.streams as head (tenant_id, stream_id, version)
        values (for_tenant, stream_ids[1], events)
        on conflict (tenant_id, stream_id) do update set version = head.version + excluded.version
        returning array[head.stream_id], array[head.version], array[events] into changed, heads, added;
        before := array_fill(heads[1] - events, array[events]);
    else
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

        before := array(
            select case when sent.is_new then
                moved.version - moved.events - sent.ordinal
                    + row_number() over (partition by sent.stream_id, sent.is_new order by sent.ordinal)
            end
            from (
                select s.stream_id, s.ordinal, s.ordinal <> all (known) as is_new
                from unnest(stream_ids) with ordinality as s (stream_id, ordinal)
            ) as sent
            left join unnest(changed, heads, added) as moved (stream_id, version, events) using (stream_id)
            order by sent.ordinal
        );
    end if;

    if expected_streams <> '{}' then
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

    with inserted as (
        insert into event_log.events (
            tenant_id, source, event_id, stream_id, stream_version, event_type, schema_version, sequence, occurred_at,
            correlation_id, causation_id, data
        )
        select
            for_tenant, source, event_id, stream_id, before + ordinal, event_type, schema_version, sequence, occurred_at,
            correlation_id, causation_id, data::jsonb
        from unnest(sources, event_ids, stream_ids, before, event_types, schema_versions, sequences, moments,
            correlation_ids, causation_ids, payloads)
            with ordinality as sent (
                source, event_id, stream_id, before, event_type, schema_version, sequence, occurred_at,
                correlation_id, causation_id, data, ordinal)
        where before is not null
        returning position, tenant_id, source, event_id
    )
    insert into event_log.event_ids (position, tenant_id, source, event_id)
    select position, tenant_id, source, event_id from inserted;

    if known = '{}' then
        return query select * from unnest(changed, heads);
    else
        return query
        select head.stream_id, head.version from event_log.streams as head
        where head.tenant_id = for_tenant and head.stream_id = any (stream_ids);
    end if;
end
$$;
comment on function event_log.append is 'Append events to their streams, all or none. With look_up, what the log has already with the same content is passed over; without, it is an error. Returns each stream''s version';
revoke execute on function event_log.append from public;
grant execute on function event_log.append to pipelines_runtime;

create or replace function event_log.append_one(
    for_tenant text, expected_version integer, source text, event_id text, stream_id text, event_type text,
    schema_version smallint, sequence bigint, moment timestamptz, correlation_id text, causation_id text, payload jsonb
) returns integer
language plpgsql volatile as $$
#variable_conflict use_column
declare
    head integer;
    place bigint;
begin
    insert into event_log.streams as stream (tenant_id, stream_id, version)
    values (for_tenant, append_one.stream_id, 1)
    on conflict (tenant_id, stream_id) do update set version = stream.version + 1
    returning stream.version into head;
    if expected_version <> head - 1 then
        raise exception 'stream % of % is at version %, not %; load it again',
            append_one.stream_id, for_tenant, head - 1, expected_version using errcode = 'PL001';
    end if;

    insert into event_log.events (
        tenant_id, source, event_id, stream_id, stream_version, event_type, schema_version, sequence, occurred_at,
        correlation_id, causation_id, data
    ) values (
        for_tenant, append_one.source, append_one.event_id, append_one.stream_id, head, append_one.event_type,
        append_one.schema_version, append_one.sequence, moment, append_one.correlation_id, append_one.causation_id,
        payload
    ) returning position into place;
    insert into event_log.event_ids (position, tenant_id, source, event_id)
    values (place, for_tenant, append_one.source, append_one.event_id);
    return head;
end
$$;
comment on function event_log.append_one is 'Appends one event that is new, as event_log.append does without look_up, by plain statements and values instead of lists. Returns its version in its stream';
