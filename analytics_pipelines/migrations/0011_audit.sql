-- Audit: what became of redriven events, digests of closed ranges of the log, and partitions that leave it.
set local role pipelines_log_owner;

alter table event_log.quarantine
    add column redriven_at timestamptz,
    add column outcome text check (outcome in ('accepted', 'duplicate', 'quarantined'));
comment on column event_log.quarantine.reason is 'Why it was refused, the newest time; begins with the path of what is wrong';
comment on column event_log.quarantine.redriven_at is 'When it was put through again, the newest time (UTC); null before';
comment on column event_log.quarantine.outcome is 'What became of it then: accepted, duplicate, or quarantined again (kind and reason are the new ones)';
create index quarantine_newest on event_log.quarantine (quarantine_id);
create index quarantine_waiting on event_log.quarantine (tenant_id, quarantine_id)
where outcome is null or outcome = 'quarantined';

-- One row at a time: two entries with the same bytes may come to the same kind, and the second then keeps its own.
create function event_log.mark_redriven(
    for_tenant text, ids bigint[], outcomes text[], kinds text[], reasons text[]
) returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    entry record;
begin
    for entry in
        select * from unnest(ids, outcomes, kinds, reasons) as e (id, outcome, kind, reason) order by id
    loop
        update event_log.quarantine as q
        set redriven_at = clock_timestamp(),
            outcome = entry.outcome,
            reason = case when entry.outcome = 'quarantined' then entry.reason else q.reason end,
            kind = case
                when entry.outcome = 'quarantined' and not exists (
                    select from event_log.quarantine as other
                    where other.tenant_id = for_tenant and other.digest = q.digest and other.kind = entry.kind)
                then entry.kind else q.kind end
        where q.tenant_id = for_tenant and q.quarantine_id = entry.id and q.outcome is distinct from 'accepted';
    end loop;
end
$$;
comment on function event_log.mark_redriven is 'Write down what became of quarantined events that were put through again; their bytes stay';

create table event_log.digests (
    last_position bigint primary key,
    first_position bigint not null unique,
    events bigint not null,
    digest bytea not null,
    chain bytea not null,
    made_at timestamptz not null default clock_timestamp(),
    check (first_position <= last_position)
);
comment on table event_log.digests is 'One row per closed range of the log, without gaps between them: a digest of its events, chained';
comment on column event_log.digests.events is 'How many events stood in the range when it was closed';
comment on column event_log.digests.digest is 'SHA-256 over the SHA-256 of each of its rows in order of position; see event_log.range_digest()';
comment on column event_log.digests.chain is 'SHA-256 over the chain of the range before and this range''s positions, count and digest; see event_log.chained()';

-- A row's canonical form: its columns as a JSON array, then its payload as JSON text. Times are their eight bytes in
-- hexadecimal (microseconds since 2000, UTC), so no setting of a session has a say. Python writes the same: digests.py.
create function event_log.range_digest(from_position bigint, to_position bigint, out events bigint, out digest bytea)
language sql stable parallel safe set search_path = pg_catalog, pg_temp as $$
    select count(*), sha256(coalesce(string_agg(
        sha256(convert_to(
            json_build_array(
                e.position, e.tenant_id, e.source, e.event_id, e.stream_id, e.stream_version, e.event_type,
                e.schema_version, e.sequence, encode(timestamptz_send(e.occurred_at), 'hex'),
                encode(timestamptz_send(e.recorded_at), 'hex'), e.correlation_id, e.causation_id
            )::text || e.data::text, 'UTF8')),
        ''::bytea order by e.position), ''))
    from event_log.events as e
    where e.position between from_position and to_position
$$;
comment on function event_log.range_digest is 'Count and digest of the events that stand in a range of positions now, both ends included';

create function event_log.chained(
    before bytea, first_position bigint, last_position bigint, events bigint, digest bytea
) returns bytea
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select sha256(coalesce(before, '') || convert_to(
        json_build_array(first_position, last_position, events, encode(digest, 'hex'))::text, 'UTF8'))
$$;
comment on function event_log.chained is 'The chain''s next head, from the one before it (null at first) and a range';

-- A range ends at a partition's end at the latest, so that a partition leaves with whole ranges. One that is not full is
-- closed when the newest is old enough. A few ranges a call keep transactions short: call it until it returns 0.
create function event_log.make_digests(
    size bigint default 100000, partial_after interval default '1 hour', most integer default 10
) returns integer
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    settled_to bigint;
    newest event_log.digests;
    opens bigint;
    closes bigint;
    found_events bigint;
    found_digest bytea;
    made integer := 0;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'digests are made under read committed only: an older snapshot may not hold all that is settled';
    end if;
    perform pg_advisory_xact_lock(2017, 11);
    select position into settled_to from event_log.settled;
    select * into newest from event_log.digests order by last_position desc limit 1;
    while made < most loop
        opens := coalesce(newest.last_position + 1, 0);
        exit when settled_to = 0 or opens > settled_to;
        select least(opens + size, end_position) - 1 into closes
        from event_log.partitions where first_position <= opens order by first_position desc limit 1;
        if closes > settled_to then
            exit when newest.made_at > clock_timestamp() - partial_after;
            closes := settled_to;
        end if;
        select d.events, d.digest into found_events, found_digest from event_log.range_digest(opens, closes) as d;
        insert into event_log.digests (first_position, last_position, events, digest, chain)
        values (opens, closes, found_events, found_digest,
            event_log.chained(newest.chain, opens, closes, found_events, found_digest))
        returning * into newest;
        made := made + 1;
    end loop;
    return made;
end
$$;
comment on function event_log.make_digests is 'Close the next settled ranges of the log with digests, at most so many; returns how many';

-- Error PL003: the partition may not leave, the message says why. Its table stays in the schema, out of the log and
-- out of reach of runtime sessions: only an administrator can drop it.
create function event_log.detach_partition(name text, file_digest text, file_events bigint, file_rows_digest bytea)
returns bigint
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    part event_log.partitions;
    closed event_log.digests;
    found_events bigint;
    found_digest bytea;
    total bigint := 0;
    digests bytea := '';
    remembered bigint;
begin
    perform pg_advisory_xact_lock(2017, 11);
    select * into part from event_log.partitions where table_name = name;
    if not found or part.detached_at is not null then
        raise exception '% is no partition of the log', name using errcode = 'PL003';
    elsif exists (select from event_log.partitions where first_position < part.first_position and detached_at is null) then
        raise exception '% is not the oldest partition: the log leaves from its beginning', name using errcode = 'PL003';
    elsif part.end_position - 1 > (select position from event_log.settled) then
        raise exception '% is not closed: it ends at %, the log is settled up to %', name, part.end_position - 1,
            (select position from event_log.settled) using errcode = 'PL003';
    elsif part.end_position - 1 > coalesce((select max(last_position) from event_log.digests), 0) then
        raise exception '% has no digest up to its end yet: build event_log/events', name using errcode = 'PL003';
    elsif file_digest is null or file_digest !~ '^[0-9a-f]{64}$' then
        raise exception '% needs the SHA-256 of its export, in hexadecimal', name using errcode = 'PL003';
    end if;
    for closed in
        select * from event_log.digests
        where last_position >= part.first_position and last_position < part.end_position order by last_position
    loop
        select d.events, d.digest into found_events, found_digest
        from event_log.range_digest(closed.first_position, closed.last_position) as d;
        if (found_events, found_digest) is distinct from (closed.events, closed.digest) then
            raise exception '% differs from its digest between % and %: run `pipelines verify`', name,
                closed.first_position, closed.last_position using errcode = 'PL003';
        end if;
        total := total + found_events;
        digests := digests || found_digest;
    end loop;
    if (file_events, file_rows_digest) is distinct from (total, sha256(digests)) then
        raise exception 'the export of % holds other events than the log: export it again', name using errcode = 'PL003';
    end if;

    -- What was sent is still told from what is new, and a conflict from a duplicate, when the events are gone.
    execute format($update$
        update event_log.event_ids as i
        set content_hash = event_log.content_hash(
            e.event_type, e.stream_id, e.schema_version, e.sequence, e.occurred_at, e.data)
        from event_log.%I as e
        where i.tenant_id = e.tenant_id and i.source = e.source and i.event_id = e.event_id and i.position = e.position
    $update$, name);
    get diagnostics remembered = row_count;
    if remembered <> total then
        raise exception '% of the % events of % have an identity: run `pipelines verify`', remembered, total, name
            using errcode = 'PL003';
    end if;
    update event_log.partitions set detached_at = clock_timestamp(), export_digest = file_digest where table_name = name;

    -- Everyone else waits while we wait for the table, so each try is short.
    perform set_config('lock_timeout', '1s', true);
    for try in 1..30 loop
        begin
            execute format('alter table event_log.events detach partition event_log.%I', name);
            return total;
        exception when lock_not_available then
            perform pg_sleep(1);
        end;
    end loop;
    raise exception '% is in use by a long transaction: try again when it has ended', name using errcode = 'PL003';
end
$$;
comment on function event_log.detach_partition is 'Take the oldest partition out of the log, given the digests of its verified export; returns how many events left';

-- What belongs together is found from here; events without a correlation cost nothing.
create index events_correlation on event_log.events (tenant_id, correlation_id) where correlation_id is not null;

grant select on event_log.digests to pipelines_runtime;
revoke execute on function
    event_log.mark_redriven, event_log.range_digest, event_log.chained, event_log.make_digests, event_log.detach_partition
from public;
grant execute on function
    event_log.mark_redriven, event_log.range_digest, event_log.chained, event_log.make_digests, event_log.detach_partition
to pipelines_runtime;
