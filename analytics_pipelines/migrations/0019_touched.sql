-- What touched what, so that marts make anew just the keys and days that are touched; and their account.

-- The events of a day, wherever late ones lie in the log. Of a block that holds days far apart the index keeps several
-- ranges. Partitions to come get theirs when they are attached.
set local role pipelines_log_owner;
create index events_occurred on event_log.events using brin (occurred_at timestamptz_minmax_multi_ops);

reset role;
create schema intermediate authorization pipelines_runtime;

set local role pipelines_runtime;
comment on schema intermediate is 'What several marts are made of. Not for BI';

create table progress.changes (
    model text primary key,
    change bigint not null,
    whole bigint not null,
    changed_at timestamptz not null default clock_timestamp()
);
comment on table progress.changes is 'One row per relation (schema.name) that tells what changes in it: how often it has changed. Who changes it holds its row, so that changes commit in the order of their numbers';
comment on column progress.changes.change is 'The number of the newest change, from 1 on';
comment on column progress.changes.whole is 'The number of the newest change of all of it, as when it was built from zero or switched to another version; 0 before';
comment on column progress.changes.changed_at is 'When it last changed (UTC)';

create table progress.touched (
    model text not null,
    kind text not null,
    tenant_id text not null,
    key text not null,
    change bigint not null,
    position bigint not null,
    primary key (model, kind, tenant_id, key)
);
comment on table progress.touched is 'One row per relation, kind of key, tenant and key: by which of its changes the rows of this key were last changed. A reader that has read up to a change reads the rows past it. What all readers have read is removed';
comment on column progress.touched.model is 'The relation, as schema.name. Of event_log.events the kind is an event type and the key the UTC day of such events';
comment on column progress.touched.kind is 'The column, or event type, that the key is of';
comment on column progress.touched.key is 'The key or day, as text';
comment on column progress.touched.change is 'The number of the change in progress.changes';
comment on column progress.touched.position is 'The position of the log that the relation was being built to';

create function progress.note_change(model text, is_whole boolean default false) returns bigint
language sql volatile as $$
    insert into progress.changes as c (model, change, whole) values ($1, 1, $2::integer)
    on conflict (model) do update set
        change = c.change + 1,
        whole = case when $2 then c.change + 1 else c.whole end,
        changed_at = clock_timestamp()
    returning change
$$;
comment on function progress.note_change is 'Say that a relation changes in this transaction; returns the number of the change';

alter table progress.builds
    add column recomputed bigint,
    add column restated bigint,
    add column is_whole boolean not null default true,
    add column made_by text,
    add column inputs jsonb;
comment on column progress.builds.recomputed is 'Of a mart: rows that its last build computed, be they as before or not; of all tenants, in the row of *';
comment on column progress.builds.restated is 'Rows that were there and that the last build changed or removed; null where it made the asset anew, and that is not counted';
comment on column progress.builds.is_whole is 'Whether the last build made all of it anew';
comment on column progress.builds.made_by is 'Of a mart: a hash of the SQL that made it. Another one makes it anew';
comment on column progress.builds.inputs is 'Of a mart: by relation it reads (of the log: and event type), the number of the last change that is in it';

create table progress.restatements (
    tenant_id text not null,
    asset_key text not null,
    restated_on date not null,
    rows bigint not null,
    primary key (tenant_id, asset_key, restated_on)
);
comment on table progress.restatements is 'One row per tenant, mart and UTC day of building on which rows that were there were changed or removed';
comment on column progress.restatements.rows is 'How many; a row changed by two builds counts twice';

create table progress.tests (
    asset_key text not null,
    test text not null,
    passed boolean not null,
    is_blocking boolean not null,
    failures bigint not null,
    tested_at timestamptz not null default clock_timestamp(),
    primary key (asset_key, test)
);
comment on table progress.tests is 'One row per dbt test of an asset: how it ended when it last ran';
comment on column progress.tests.is_blocking is 'Whether what is built from the asset waits until it passes';
comment on column progress.tests.failures is 'Rows that break it';
comment on column progress.tests.tested_at is 'When it last ran (UTC)';

-- Puts a table in the place of another of the same name. While it waits for readers to let go, other readers wait behind
-- it: so it waits shortly, and often. Views upon the table read the new one afterwards, with all their rights.
create function progress.swap_table(in_schema text, name text, with_name text) returns void
language plpgsql volatile as $$
declare
    old_table oid := to_regclass(format('%I.%I', in_schema, name));
    old_name text := left(name, 57) || '__old';
    reader record;
    index_names text := '';
begin
    if old_table is not null then
        perform set_config('lock_timeout', '300ms', true);
        for attempt in 1 .. 100 loop
            begin
                execute format('lock table %I.%I in access exclusive mode', in_schema, name);
                exit;
            exception when lock_not_available or deadlock_detected then
                if attempt = 100 then
                    raise exception '%.% is read without a pause, so that the new one cannot take its place; end the long queries (pg_stat_activity) and build again', in_schema, name
                        using errcode = 'lock_not_available';
                end if;
            end;
            perform pg_sleep(0.2);
        end loop;
        perform set_config('lock_timeout', '0', true);
        execute format('alter table %I.%I rename to %I', in_schema, name, old_name);
    end if;
    execute format('alter table %I.%I rename to %I', in_schema, with_name, name);
    for reader in
        select i.indexrelid::regclass as index, replace(c.relname, with_name, name) as short_name
        from pg_index as i join pg_class as c on c.oid = i.indexrelid
        where i.indrelid = format('%I.%I', in_schema, name)::regclass and c.relname like with_name || '%'
    loop
        index_names := index_names || format('alter index %s rename to %I;', reader.index, reader.short_name);
    end loop;
    for reader in
        select c.oid::regclass as view, array_to_string(c.reloptions, ', ') as options,
            replace(pg_get_viewdef(c.oid), old_name, name) as query
        from pg_class as c
        where c.relkind = 'v' and exists (
            select from pg_depend as d join pg_rewrite as r on r.oid = d.objid and d.classid = 'pg_rewrite'::regclass
            where r.ev_class = c.oid and d.refclassid = 'pg_class'::regclass and d.refobjid = old_table
        )
    loop
        begin
            execute format('create or replace view %s %s as %s', reader.view,
                'with (' || nullif(reader.options, '') || ')', reader.query);
        exception when undefined_column or invalid_table_definition then
            execute format('drop view %s cascade', reader.view);  -- the build makes it again, of the new columns
        end;
    end loop;
    if old_table is not null then
        execute format('drop table %I.%I', in_schema, old_name);
    end if;
    execute index_names;  -- the former table has had these names until now
end
$$;
comment on function progress.swap_table is 'Puts a table in the place of another; readers find the one or the other';

-- Versions that are served on tell their keys, too.
update read_models.versions set statements = replace(
    statements::text, '\nreturning 1"',
    '\nreturning ' || (select string_agg(key, ', ') from json_array_elements_text(statements -> 'key') as key) || '"'
)::json;
