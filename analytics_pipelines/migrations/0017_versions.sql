-- Versions of read models: what is served, what was served before it, and what is built beside.
set local role pipelines_runtime;

create table read_models.versions (
    model text not null,
    version text not null,
    state text not null check (state in ('beside', 'served', 'former')),
    held boolean not null default false,
    statements json not null,  -- not jsonb: the order of the columns counts
    checked_position bigint not null default 0,
    built_at timestamptz not null default clock_timestamp(),
    switched_at timestamptz,
    primary key (model, version)
);
create unique index versions_served on read_models.versions (model) where state = 'served';

comment on table read_models.versions is 'One row per read model and version of its declaration that has a table. Models are the same for all tenants';
comment on column read_models.versions.version is 'The digits in the name of its table, <model>__v<version>; they change whenever the declaration means something else';
comment on column read_models.versions.state is 'served: the public view reads it; former: it did before; beside: it is built and waits to be switched to';
comment on column read_models.versions.held is 'Whether it is served although the declaration is another one: somebody went back to it';
comment on column read_models.versions.statements is 'What it is advanced, replayed and shown with; the code has these only of the version it declares';
comment on column read_models.versions.checked_position is 'Up to which position of the log its rows were last found equal to a replay';
comment on column read_models.versions.switched_at is 'When it began to be served, or, of a former one, ceased to';
