-- What BI may read, and what keeps it to its tenants. Whoever makes a relation that BI reads calls access.protect().

-- Any login might otherwise write large objects, or take the locks that the log's writers and the builds wait for.
-- An admin login that is no superuser may not change this and is told so by a warning.
do $$
declare
    function regprocedure;
begin
    for function in
        select oid from pg_proc
        where
            pronamespace = 'pg_catalog'::regnamespace
            and (proname ~ '^pg_(try_)?advisory' or proname in ('lo_create', 'lo_creat', 'lo_from_bytea'))
    loop
        execute format('revoke execute on function %s from public', function);
        execute format('grant execute on function %s to pipelines_runtime, pipelines_log_owner', function);
    end loop;
end
$$;

-- Where the server was started with it. Which statements are slow is read by way of access.statements() alone.
do $$
begin
    create extension if not exists pg_stat_statements with schema access;
exception when insufficient_privilege or undefined_file or feature_not_supported then
    raise warning 'no extension pg_stat_statements: the report on the database shows no slow statements';
end
$$;

-- Owned by the admin, who may see what other logins have run.
create function access.statements()
returns table (role text, query text, calls bigint, mean_milliseconds float8, total_milliseconds float8, rows bigint)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    place regnamespace := (select e.extnamespace from pg_extension as e where e.extname = 'pg_stat_statements');
begin
    if place is null then
        raise exception 'the extension pg_stat_statements is not in this database'
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    return query execute format(
        'select r.rolname::text, s.query, s.calls, s.mean_exec_time, s.total_exec_time, s.rows '
        'from %s.pg_stat_statements as s join pg_roles as r on r.oid = s.userid '
        'where s.dbid = (select d.oid from pg_database as d where d.datname = current_database()) and s.toplevel',
        place
    );
end
$$;
comment on function access.statements() is 'What pg_stat_statements says of this database, of all logins';
revoke execute on function access.statements() from public;
grant execute on function access.statements() to pipelines_runtime;

set local role pipelines_runtime;

-- BI may use the schema of the functions that read as of a moment; what those are made of is not for it. What is made
-- from now on is for those whom it is granted to.
revoke execute on all functions in schema read_models from public;
alter default privileges revoke execute on functions from public;

grant usage on schema marts, graph, forecasts, features to bi_reader;

-- An array, so that a policy compares with a value that is found once per statement and that an index is searched for.
create function access.visible_tenants() returns text[]
language sql stable parallel safe security definer set search_path = pg_catalog, pg_temp as $$
    select coalesce(array_agg(t), '{}') from access.tenants() as t
$$;
comment on function access.visible_tenants() is 'The tenants that are granted to the session''s login, as one value';
-- What a policy or a view calls is called with the rights of its reader.
grant execute on function access.visible_tenants(), access.sees_all() to bi_reader;

-- Row security is not forced on the owner: its builds see all tenants, and may COPY.
create function access.protect(relation regclass, filters_itself boolean default false) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    kind "char" := (select c.relkind from pg_class as c where c.oid = relation);
begin
    if kind = 'v' then
        execute format(
            'alter view %s set (security_invoker = %s, security_barrier = %s)', relation, not filters_itself, filters_itself
        );
    elsif kind in ('r', 'p') then
        execute format('alter table %s enable row level security', relation);
        execute format('drop policy if exists granted_tenants on %s', relation);
        execute format(
            'create policy granted_tenants on %s for select to bi_reader '
            'using (tenant_id = any ((select access.visible_tenants())::text[]))', relation
        );
    else
        raise exception '% is neither a table nor a view, BI cannot be kept to its tenants there', relation
            using errcode = 'wrong_object_type';
    end if;
    execute format('grant select on %s to bi_reader', relation);
end
$$;
comment on function access.protect is 'Lets BI read a table, the rows of the tenants granted to the session''s login only, or a view: with its reader''s rights, or, where it filters itself, with its owner''s';

-- Those of dbt come when they are built next.
select access.protect(c.oid)
from pg_class as c
where c.relnamespace in ('graph'::regnamespace, 'forecasts'::regnamespace, 'features'::regnamespace) and c.relkind = 'r';
