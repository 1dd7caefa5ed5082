-- Personal data: the keys of subjects, kept apart from the log, and what is left when one is destroyed.
do $$
begin
    create role pii_reader nologin;
exception when duplicate_object or unique_violation then null;
end
$$;
comment on role pii_reader is 'What the logins of those who may see people are members of';

create schema vault authorization pipelines_log_owner;
set local role pipelines_log_owner;
grant usage on schema vault to pipelines_runtime, pii_reader;

create table vault.master_keys (
    version smallint primary key,
    fingerprint bytea not null
);
comment on table vault.master_keys is 'One row per master key that ever wrapped a key here. The master keys themselves are with the operator';
comment on column vault.master_keys.fingerprint is 'Tells whether a configured key is the one of this version; says nothing of the key';

create table vault.subject_keys (
    tenant_id text not null,
    subject text not null,
    wrapped_key bytea,
    key_version smallint,
    created_at timestamptz not null default clock_timestamp(),
    erased_at timestamptz,
    primary key (tenant_id, subject),
    constraint erased_or_wrapped check (
        (erased_at is null) = (wrapped_key is not null) and (wrapped_key is null) = (key_version is null))
);
comment on table vault.subject_keys is 'One row per tenant and subject whose personal data arrived or were erased. The subject quarantine stands for what was refused';
comment on column vault.subject_keys.subject is 'Whose personal data the key seals, named like a stream: lead-42';
comment on column vault.subject_keys.wrapped_key is 'The key, encrypted with a master key; null once it was destroyed';
comment on column vault.subject_keys.key_version is 'Which master key wraps it';
comment on column vault.subject_keys.erased_at is 'When it was destroyed (UTC)';

create table vault.erasures (
    tenant_id text not null,
    certificate_id uuid not null default gen_random_uuid(),
    erasure_id text not null,
    subject text not null,
    certificate jsonb not null,
    erased_by text not null default session_user,
    erased_at timestamptz not null default clock_timestamp(),
    primary key (tenant_id, certificate_id)
);
create index erasures_erasure on vault.erasures (tenant_id, erasure_id);
comment on table vault.erasures is 'One row per certificate: an erasure of a subject, or the repetition of one, and what it touched';
comment on column vault.erasures.erasure_id is 'The erasure, as in the record outside the database';
comment on column vault.erasures.erased_by is 'The database login that asked for it';

-- Plain values: not written to the WAL, so that neither archives nor standbys keep what was erased. A crash of the server
-- empties both tables, and they are filled again from the log.
create unlogged table vault.profile_values (
    tenant_id text not null,
    subject text not null,
    field text not null,
    value jsonb not null,
    occurred_at timestamptz not null,
    sequence bigint not null,
    event_id text not null,
    source text not null,
    primary key (tenant_id, subject, field)
);
comment on table vault.profile_values is 'One row per tenant, subject and personal field: its newest value, by (occurred_at, sequence, event_id, source)';
create unlogged table vault.profiled (
    only_row boolean primary key default true check (only_row),
    position bigint not null
);
comment on table vault.profiled is 'At most one row: the position of the log that vault.profile_values is filled to';

create view vault.subject_profile as
select
    tenant_id,
    subject,
    jsonb_object_agg(field, value) as profile,
    max(occurred_at) as newest_at
from vault.profile_values
group by tenant_id, subject;
comment on view vault.subject_profile is 'One row per tenant and subject: the newest value of each personal field. For members of pii_reader';
comment on column vault.subject_profile.profile is 'Personal fields and their newest values';
comment on column vault.subject_profile.newest_at is 'Event time of the newest of these values (UTC)';

create function vault.write_profile(
    up_to bigint, tenants text[], subjects text[], fields text[], vals text[], moments timestamptz[], sequences bigint[],
    event_ids text[], sources text[]
) returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
    -- An erasure under way is waited for; what it has erased is not written again.
    perform from vault.subject_keys as k
    where (k.tenant_id, k.subject) in (select sent.t, sent.s from unnest(tenants, subjects) as sent (t, s))
    order by k.tenant_id, k.subject for share;
    insert into vault.profile_values as known
    select sent.t, sent.s, sent.field, sent.value::jsonb, sent.moment, sent.sequence, sent.event_id, sent.source
    from unnest(tenants, subjects, fields, vals, moments, sequences, event_ids, sources)
        as sent (t, s, field, value, moment, sequence, event_id, source)
    join vault.subject_keys as k on k.tenant_id = sent.t and k.subject = sent.s and k.erased_at is null
    on conflict (tenant_id, subject, field) do update set
        value = excluded.value, occurred_at = excluded.occurred_at, sequence = excluded.sequence,
        event_id = excluded.event_id, source = excluded.source
    where (excluded.occurred_at, excluded.sequence, excluded.event_id, excluded.source)
        > (known.occurred_at, known.sequence, known.event_id, known.source);
    insert into vault.profiled as before (position) values (up_to)
    on conflict (only_row) do update set position = greatest(before.position, excluded.position);
end
$$;
comment on function vault.write_profile is 'Take newer values of personal fields into the profiles and remember the position; erased subjects are left out';

create function vault.people() returns table (tenant_id text, people bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select p.tenant_id, count(distinct p.subject) from vault.profile_values as p group by p.tenant_id
$$;
comment on function vault.people() is 'How many profiles each tenant has';

create function vault.erase_subject(for_tenant text, for_subject text) returns table (key_destroyed boolean, profile_deleted boolean)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    had_key boolean;
    had_profile boolean;
begin
    if for_subject = 'quarantine' then
        raise exception 'the key of the quarantine is nobody''s';
    end if;
    select k.wrapped_key is not null into had_key from vault.subject_keys as k
    where k.tenant_id = for_tenant and k.subject = for_subject for update;
    insert into vault.subject_keys (tenant_id, subject, erased_at) values (for_tenant, for_subject, clock_timestamp())
    on conflict (tenant_id, subject) do update
    set wrapped_key = null, key_version = null, erased_at = coalesce(subject_keys.erased_at, excluded.erased_at);
    delete from vault.profile_values as p where p.tenant_id = for_tenant and p.subject = for_subject;
    had_profile := found;
    return query select coalesce(had_key, false), had_profile;
end
$$;
comment on function vault.erase_subject is 'Destroy the key of a subject, also of one that was never seen, and delete the profile';

create function vault.rewrap(tenants text[], subjects text[], old_keys bytea[], new_keys bytea[], version smallint) returns bigint
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
    with changed as (
        update vault.subject_keys as k set wrapped_key = sent.new_key, key_version = version
        from unnest(tenants, subjects, old_keys, new_keys) as sent (t, s, old_key, new_key)
        where k.tenant_id = sent.t and k.subject = sent.s and k.wrapped_key = sent.old_key
        returning 1
    )
    select count(*) from changed
$$;
comment on function vault.rewrap is 'Put keys under another master key; a key that changed meanwhile is left alone';

-- What was refused: bytes are sealed from now on, and events of erased subjects are kept without any.
alter table event_log.quarantine drop constraint quarantine_kind_check;
alter table event_log.quarantine add constraint quarantine_kind_check
    check (kind in ('malformed', 'unknown_type', 'invalid', 'conflict', 'erased'));
alter table event_log.quarantine add column is_sealed boolean not null default false;
comment on column event_log.quarantine.kind is 'malformed (no event at all), unknown_type, invalid (payload breaks its schema), conflict (same identity, other content), erased (of a subject that was erased; no bytes are kept)';
comment on column event_log.quarantine.bytes is 'The event as it was sent, sealed with the tenant''s key of the quarantine; empty where it named an erased subject';
comment on column event_log.quarantine.digest is 'SHA-256 of the bytes as they were sent (of source and id where they are not kept): what is sent again is kept once';
comment on column event_log.quarantine.is_sealed is 'Whether the bytes are encrypted; they are not where they were refused before version 0012';

create function vault.scrub_quarantine(for_tenant text, ids bigint[]) returns bigint
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
    with changed as (
        update event_log.quarantine as q
        set bytes = '', is_sealed = false, reason = 'erased: it named a subject that was erased'
        where q.tenant_id = for_tenant and q.quarantine_id = any (ids)
        returning 1
    )
    select count(*) from changed
$$;
comment on function vault.scrub_quarantine is 'Forget the bytes of refused events that name an erased subject';

grant select on vault.master_keys, vault.subject_keys, vault.erasures, vault.profiled to pipelines_runtime;
grant insert on vault.master_keys to pipelines_runtime;
grant insert (tenant_id, subject, wrapped_key, key_version) on vault.subject_keys to pipelines_runtime;
grant insert (tenant_id, erasure_id, subject, certificate) on vault.erasures to pipelines_runtime;
grant insert (is_sealed) on event_log.quarantine to pipelines_runtime;
grant select on vault.subject_profile to pii_reader;
revoke execute on all functions in schema vault from public;
grant execute on all functions in schema vault to pipelines_runtime;
