-- What was built to which position of the log.
set local role pipelines_runtime;

create table progress.pins (
    run_id text primary key,
    up_to_position bigint not null,
    pinned_at timestamptz not null default clock_timestamp()
);
comment on table progress.pins is 'One row per run: the position that everything in it is built to';

create table progress.watermarks (
    tenant_id text not null,
    position bigint not null,
    watermark timestamptz not null,
    primary key (tenant_id, position)
);
comment on table progress.watermarks is 'One row per tenant and pinned position at which it had new events: the newest event time up to there (UTC)';

create table progress.builds (
    tenant_id text not null,
    asset_key text not null,
    position bigint not null,
    watermark timestamptz,
    rows bigint,
    seconds double precision not null,
    code_version text not null,
    run_id text not null,
    built_at timestamptz not null default clock_timestamp(),
    primary key (tenant_id, asset_key)
);
comment on table progress.builds is 'One row per tenant and asset: to which position of the log it was last built, with how many rows. Tenant * stands for the asset as a whole';
comment on column progress.builds.watermark is 'Newest event time of the tenant up to that position (UTC)';
comment on column progress.builds.rows is 'Rows of the tenant; null for a view, which holds none';
comment on column progress.builds.seconds is 'How long the build of the asset took, for all tenants together';

create table progress.checkpoints (
    tenant_id text not null,
    reader text not null,
    position bigint not null,
    primary key (tenant_id, reader)
);
comment on table progress.checkpoints is 'One row per tenant (* for all) and durable reader of the log: up to which position its effects are committed';

create function progress.up_to_position() returns bigint
language sql stable parallel safe as $$
    select coalesce(
        nullif(current_setting('pipelines.up_to_position', true), '')::bigint,
        (select max(p.up_to_position) from progress.pins as p),
        0
    )
$$;
comment on function progress.up_to_position() is 'The position this session builds to: the setting pipelines.up_to_position, else the newest pin';

create function progress.watermark(tenant_id text) returns timestamptz
language sql stable parallel safe as $$
    select w.watermark
    from progress.watermarks as w
    where w.tenant_id = $1 and w.position <= progress.up_to_position()
    order by w.position desc
    limit 1
$$;
comment on function progress.watermark(text) is 'The newest event time of a tenant up to the position this session builds to (UTC)';

-- The order of events wherever "last" is meant: position decides no value.
create type read_models.event_order as (occurred_at timestamptz, sequence bigint, event_id text, source text);
