-- Who may do what. None of these roles can log in; logins are made members of them.
-- Roles belong to the whole server, so another database of it may have made them already.
do $$
declare
    name text;
begin
    foreach name in array array['pipelines_log_owner', 'pipelines_runtime', 'bi_reader'] loop
        begin
            execute format('create role %I nologin', name);
        exception when duplicate_object or unique_violation then null;
        end;
    end loop;
    -- An admin login that is no superuser must be a member to make objects that these roles own.
    if not (select rolsuper from pg_roles where rolname = current_user) then
        execute format('grant pipelines_log_owner, pipelines_runtime to %I', current_user);
    end if;
end
$$;

comment on role pipelines_log_owner is 'Owns the event log; nobody logs in as it, so nobody can change the log';
comment on role pipelines_runtime is 'What the platform''s own sessions are: appends to and reads the log, owns what is derived from it';
comment on role bi_reader is 'What the logins of BI tools are members of';

revoke create on schema public from public;

create schema event_log authorization pipelines_log_owner;
create schema progress authorization pipelines_runtime;
create schema read_models authorization pipelines_runtime;
create schema staging authorization pipelines_runtime;
create schema marts authorization pipelines_runtime;
