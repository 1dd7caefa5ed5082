-- What tells of marts that nobody builds, and of forecasts that are kept.
set local role pipelines_runtime;

create function progress.has_waited(at_least interval) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select coalesce((
        select e.recorded_at < now() - at_least
        from event_log.events as e
        where e.position > (select coalesce(max(p.up_to_position), 0) from progress.pins as p)
        order by e.position
        limit 1
    ), false)
$$;
comment on function progress.has_waited(interval) is 'Whether an event was recorded longer ago than that which no run has been pinned to yet: nothing takes what is appended';
-- By way of marts.mart_status: a view calls functions with the rights of its reader.
grant execute on function progress.has_waited(interval) to pipelines_runtime, bi_reader;

comment on table forecasts.forecasts is 'One row per tenant, series, unit and day: the newest forecast; of a day that is over, the last one made before it. Estimates, not bookings; a series of less than 14 days has none';
