-- What tells of marts that nobody builds, and of forecasts that are kept.
set local role pipelines_runtime;

-- Read models advance together: what the one that has come furthest has not seen, none has. A pin would not do, as a run
-- that fails has one, too.
create function progress.has_waited(at_least interval) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    with served as materialized (
        select 'read_models.' || v.model || '__v' || v.version as reader, v.statements -> 'events' as events
        from read_models.versions as v
        where v.state = 'served'
    ), concerned as materialized (
        select array_agg(distinct event_type) as event_types
        from served cross join lateral json_array_elements_text(served.events) as event_type
    ), seen as materialized (
        select coalesce(max(c.position), 0) as position
        from progress.checkpoints as c
        where c.tenant_id = '*' and c.reader in (select served.reader from served)
    )
    select coalesce((
        select e.recorded_at < now() - at_least
        from event_log.events as e
        where
            e.position > (select seen.position from seen)
            and e.event_type = any ((select concerned.event_types from concerned)::text[])
        order by e.position
        limit 1
    ), false)
$$;
comment on function progress.has_waited(interval) is 'Whether an event that changes a read model was recorded longer ago than that, and none has seen it: no run takes what is appended';
-- By way of marts.mart_status: a view calls functions with the rights of its reader.
grant execute on function progress.has_waited(interval) to pipelines_runtime, bi_reader;

comment on table forecasts.forecasts is 'One row per tenant, series, unit and day: the newest forecast; of a day that is over, the last one made before it. Estimates, not bookings; a series of less than 14 days has none';
