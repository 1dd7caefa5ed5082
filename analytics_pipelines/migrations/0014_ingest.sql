-- How far sources that are polled were read.
set local role pipelines_log_owner;

create table event_log.outbox_checkpoints (
    tenant_id text not null,
    outbox text not null,
    incarnation text not null,
    transaction_id bigint not null,
    row_id text,
    read_at timestamptz not null default clock_timestamp(),
    primary key (tenant_id, outbox)
);
comment on table event_log.outbox_checkpoints is 'One row per tenant and outbox table of another Postgres: up to which row its events are in the log';
comment on column event_log.outbox_checkpoints.incarnation is 'Server, database and table as they name themselves: transaction ids of another one begin anew';
comment on column event_log.outbox_checkpoints.transaction_id is 'Every row of transactions before this one is in the log';
comment on column event_log.outbox_checkpoints.row_id is 'The last row read of this transaction';
comment on column event_log.outbox_checkpoints.read_at is 'When it was last moved (UTC)';
grant select, insert, update on event_log.outbox_checkpoints to pipelines_runtime;
