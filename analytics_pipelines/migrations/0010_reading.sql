-- Durable subscriptions, and who holds the cursor back.
set local role pipelines_log_owner;

create table event_log.subscriptions (
    tenant_id text not null,
    name text not null,
    share smallint not null,
    shares smallint not null check (share >= 0 and share < shares),
    position bigint not null,
    moved_at timestamptz not null default clock_timestamp(),
    primary key (tenant_id, name, share)
);
comment on table event_log.subscriptions is 'One row per durable subscription (of a tenant, * for all) and share of its streams: up to which position its handler''s effects are committed. Who handles a share holds its row';
comment on column event_log.subscriptions.share is 'Which of the shares, from 0; see event_log.share_of()';
comment on column event_log.subscriptions.shares is 'Into how many shares the streams are parted; never changes';
comment on column event_log.subscriptions.moved_at is 'When the position last moved (UTC)';
grant select, insert, update on event_log.subscriptions to pipelines_runtime;

-- Not Postgres' own hash of text, which may change from one major version to the next: a stream that changes its share
-- would be read twice or not at all.
create function event_log.share_of(stream_id text, shares integer) returns integer
language sql immutable parallel safe strict as $$
    select (pg_catalog.get_byte(hash.bytes, 0) * 256 + pg_catalog.get_byte(hash.bytes, 1)) % shares
    from (select pg_catalog.sha256(pg_catalog.convert_to(stream_id, 'UTF8')) as bytes) as hash
$$;
comment on function event_log.share_of is 'Into which of so many shares a stream falls, from 0';

-- The lock is the one of event_log.take_append_lock(). Reads only; a query's text is shown as far as its beginning.
create function event_log.open_writers()
returns table (pid integer, application text, seconds double precision, query text)
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
    select l.pid, a.application_name,
        extract(epoch from clock_timestamp() - coalesce(a.xact_start, p.prepared))::double precision,
        left(a.query, 200)
    from pg_locks as l
    left join pg_stat_activity as a on a.pid = l.pid
    left join pg_prepared_xacts as p on l.virtualtransaction = '-1/' || p.transaction::text
    where l.locktype = 'advisory' and l.granted and l.mode = 'ShareLock'
        and l.database = (select d.oid from pg_database as d where d.datname = current_database())
        and l.classid = 2017 and l.objid = 1 and l.objsubid = 2
        and (select s.position from event_log.settled as s)
            < (select case when is_called then last_value else 0 end from event_log.position_sequence)
    order by 3 desc nulls first
$$;
comment on function event_log.open_writers is 'The transactions that hold the settled position back, oldest first: process, age in seconds, and what they run';

revoke execute on function event_log.share_of, event_log.open_writers from public;
grant execute on function event_log.share_of, event_log.open_writers to pipelines_runtime;

-- So that the function may see the age and query of other logins' sessions. Where the admin login may not grant this,
-- both are null or withheld, and the process is named all the same.
reset role;
do $$
begin
    grant pg_read_all_stats to pipelines_log_owner;
exception when insufficient_privilege then
    raise notice 'pg_read_all_stats cannot be granted: the age and query of writers of other logins are not shown';
end
$$;
