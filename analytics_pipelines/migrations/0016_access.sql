-- Who of the BI logins sees which tenants, and the branches that were made.
create schema access authorization pipelines_runtime;
set local role pipelines_runtime;
comment on schema access is 'Who of the BI logins sees which tenants';

create table access.bi_grants (
    role text not null,
    tenant_id text not null,
    primary key (role, tenant_id)
);
comment on table access.bi_grants is 'One row per BI login and tenant whose rows it sees';
comment on column access.bi_grants.role is 'The login, as Postgres'' session_user';
comment on column access.bi_grants.tenant_id is 'The tenant';

-- The session's login decides, not the role it has taken: SET ROLE changes nothing. For use where the owner's rights
-- apply; nobody else can read the grants.
create function access.sees_all() returns boolean
language sql stable parallel safe set search_path = pg_catalog, pg_temp as $$
    select pg_has_role(session_user, 'pipelines_runtime', 'member')
$$;
comment on function access.sees_all() is 'Whether the session''s login is one of the platform''s own, which sees all tenants';
create function access.tenants() returns setof text
language sql stable parallel safe set search_path = pg_catalog, pg_temp as $$
    select g.tenant_id from access.bi_grants as g where g.role = session_user
$$;
comment on function access.tenants() is 'The tenants that are granted to the session''s login';
revoke execute on all functions in schema access from public;

-- For the functions `<model>_as_of` alone: no table or view there is granted.
grant usage on schema read_models to bi_reader;

create table progress.branches (
    name text primary key,
    positions jsonb not null,
    edits bigint not null,
    differing bigint not null,
    created_at timestamptz not null default clock_timestamp()
);
comment on table progress.branches is 'One row per branch: models over an edited history, in the schema branch_<name>';
comment on column progress.branches.positions is 'By model: the position of the log that the branch was made at';
comment on column progress.branches.edits is 'How many edits it was made with';
comment on column progress.branches.differing is 'How many rows of all models differ from the true history';

reset role;
-- The runtime role may not create schemas; a branch's is made for it. A right on the database itself would be lost
-- when the database is cloned or restored.
create function access.create_branch_schema(branch text) returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
    if branch !~ '^[a-z][a-z0-9_]{0,39}$' then
        raise exception 'no name of a branch: %', branch using errcode = 'invalid_schema_name';
    end if;
    execute format('create schema %I authorization pipelines_runtime', 'branch_' || branch);
end
$$;
comment on function access.create_branch_schema(text) is 'Makes the schema branch_<name>, owned by the runtime role';
revoke execute on function access.create_branch_schema(text) from public;
grant execute on function access.create_branch_schema(text) to pipelines_runtime;
