-- Events that a durable subscription has set aside, and erasures that leave nothing in the quarantine.
set local role pipelines_log_owner;

create table event_log.dead_letters (
    tenant_id text not null,
    name text not null,
    position bigint not null,
    attempts integer not null check (attempts > 0),
    reason text not null,
    set_aside_at timestamptz not null default clock_timestamp(),
    primary key (tenant_id, name, position)
);
comment on table event_log.dead_letters is 'One row per durable subscription (of a tenant, * for all) and event that its handler could not handle and that it went on without';
comment on column event_log.dead_letters.position is 'Where the event stands in the log';
comment on column event_log.dead_letters.attempts is 'How often the handler failed on it';
comment on column event_log.dead_letters.reason is 'The handler''s newest error; without its words where the event tells of a person';
comment on column event_log.dead_letters.set_aside_at is 'When the subscription went on without it (UTC)';
grant select, insert on event_log.dead_letters to pipelines_runtime;

create or replace function vault.scrub_quarantine(for_tenant text, ids bigint[]) returns bigint
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
    with changed as (
        update event_log.quarantine as q
        set bytes = '', is_sealed = false, reason = 'erased: it named a subject that was erased',
            digest = sha256(uuid_send(gen_random_uuid()))
        where q.tenant_id = for_tenant and q.quarantine_id = any (ids)
        returning 1
    )
    select count(*) from changed
$$;
comment on function vault.scrub_quarantine is 'Forget the bytes of refused events that name an erased subject, and the digest by which a guess could be tried';
comment on column event_log.quarantine.digest is 'SHA-256 of the bytes as they were sent: what is sent again is kept once. Where bytes are not kept, it tells nothing of them';

-- Both are filled again from the log, with the people of a user's own event types, too.
truncate vault.profile_values, vault.profiled;
