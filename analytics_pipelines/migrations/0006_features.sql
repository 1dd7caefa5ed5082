-- Offline feature tables. Their columns and the registry (features/registry.py) are kept equal by a test.
create schema features authorization pipelines_runtime;
set local role pipelines_runtime;

create table features.lead_engagement (
    tenant_id text not null,
    lead_id text not null,
    as_of timestamptz not null,
    built_to_position bigint not null,
    engagement_score numeric check (engagement_score between 0 and 100),
    days_since_last_contact integer check (days_since_last_contact >= 0),
    primary key (tenant_id, lead_id)
);
comment on table features.lead_engagement is 'One row per tenant and lead: how much the lead reacts to e-mails, as of the tenant''s watermark';
comment on column features.lead_engagement.tenant_id is 'Whose lead it is';
comment on column features.lead_engagement.lead_id is 'Which lead';
comment on column features.lead_engagement.as_of is 'The moment the values hold for: the tenant''s watermark (UTC)';
comment on column features.lead_engagement.built_to_position is 'Position of the log up to which the values were built';
comment on column features.lead_engagement.engagement_score is 'Points, 0 to 100: reaction to e-mails sent, halved every 30 days without contact. Null when no e-mail was sent';
comment on column features.lead_engagement.days_since_last_contact is 'Full days of 24 hours from the last contact to as_of. Null without contact';

create table features.customer_value (
    tenant_id text not null,
    customer_id text not null,
    as_of timestamptz not null,
    built_to_position bigint not null,
    recency_days integer not null check (recency_days >= 0),
    frequency integer not null check (frequency > 0),
    monetary_value numeric check (monetary_value >= 0),
    primary key (tenant_id, customer_id)
);
comment on table features.customer_value is 'One row per tenant and customer with an order that was not cancelled, as of the tenant''s watermark';
comment on column features.customer_value.tenant_id is 'Whose customer it is';
comment on column features.customer_value.customer_id is 'Which customer';
comment on column features.customer_value.as_of is 'The moment the values hold for: the tenant''s watermark (UTC)';
comment on column features.customer_value.built_to_position is 'Position of the log up to which the values were built';
comment on column features.customer_value.recency_days is 'Full days of 24 hours from the last order to as_of';
comment on column features.customer_value.frequency is 'Orders that were not cancelled';
comment on column features.customer_value.monetary_value is 'Revenue of those orders in their currency, refunds not taken off. Null for orders in several currencies';
