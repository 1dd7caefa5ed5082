-- What customers are expected to bring.
set local role pipelines_runtime;

create table marts.lifetime_value_models (
    tenant_id text not null,
    currency text not null,
    as_of_on date not null,
    customers integer not null check (customers > 0),
    repeat_customers integer not null check (repeat_customers between 0 and customers),
    r double precision,
    alpha double precision,
    a double precision,
    b double precision,
    p double precision,
    q double precision,
    v double precision,
    problem text,
    model_version text not null,
    primary key (tenant_id, currency)
);
comment on table marts.lifetime_value_models is 'One row per tenant and currency in which customers bought: the parameters that marts.customer_lifetime_values was predicted with, or why nothing was';
comment on column marts.lifetime_value_models.tenant_id is 'Whose row it is';
comment on column marts.lifetime_value_models.currency is 'The currency of the purchases; those in other currencies are other rows';
comment on column marts.lifetime_value_models.as_of_on is 'The day of the tenant''s watermark, which ages are counted to and predictions from (UTC)';
comment on column marts.lifetime_value_models.customers is 'Customers who bought';
comment on column marts.lifetime_value_models.repeat_customers is 'Customers who bought on more than one day';
comment on column marts.lifetime_value_models.r is 'BG/NBD: shape of the gamma distribution of the customers'' rates of purchase';
comment on column marts.lifetime_value_models.alpha is 'BG/NBD: the scale of that distribution, in days: r / alpha purchases a day are the mean of new customers';
comment on column marts.lifetime_value_models.a is 'BG/NBD: first parameter of the beta distribution of the chance that a purchase is the last one';
comment on column marts.lifetime_value_models.b is 'BG/NBD: second parameter of that distribution: a / (a + b) is the mean chance of new customers';
comment on column marts.lifetime_value_models.p is 'Gamma-gamma: shape of the gamma distribution of a customer''s purchases around their mean';
comment on column marts.lifetime_value_models.q is 'Gamma-gamma: shape of the gamma distribution of the customers'' scales';
comment on column marts.lifetime_value_models.v is 'Gamma-gamma: the scale of that distribution, in the currency: p * v / (q - 1) is the mean value of a purchase';
comment on column marts.lifetime_value_models.problem is 'Why nothing is predicted, or no value; null where all is';
comment on column marts.lifetime_value_models.model_version is 'Version of the way in which parameters and predictions are made';

create table marts.customer_lifetime_values (
    tenant_id text not null,
    customer_id text not null,
    currency text not null,
    as_of_on date not null,
    frequency integer not null check (frequency >= 0),
    recency_days integer not null check (recency_days >= 0),
    age_days integer not null check (age_days >= recency_days),
    mean_purchase_value numeric check (mean_purchase_value >= 0),
    probability_alive double precision check (probability_alive between 0 and 1),
    horizon_days integer not null check (horizon_days > 0),
    expected_purchases double precision check (expected_purchases >= 0 and expected_purchases < 'infinity'),
    expected_purchase_value double precision check (expected_purchase_value >= 0 and expected_purchase_value < 'infinity'),
    predicted_value double precision check (predicted_value >= 0 and predicted_value < 'infinity'),
    model_version text not null,
    primary key (tenant_id, customer_id, currency),
    check ((mean_purchase_value is null) = (frequency = 0))
);
create index on marts.customer_lifetime_values (tenant_id, currency, predicted_value desc nulls last);
comment on table marts.customer_lifetime_values is 'One row per tenant, customer who bought, and currency: how they bought, and what they are expected to bring. Estimates, not bookings; a purchase is a day with orders that were not cancelled, with their revenue before refunds';
comment on column marts.customer_lifetime_values.tenant_id is 'Whose row it is';
comment on column marts.customer_lifetime_values.customer_id is 'The customer';
comment on column marts.customer_lifetime_values.currency is 'The currency of the purchases and values; predictions in several are not added up';
comment on column marts.customer_lifetime_values.as_of_on is 'The day of the tenant''s watermark, not of the wall clock (UTC)';
comment on column marts.customer_lifetime_values.frequency is 'Purchases after the first one';
comment on column marts.customer_lifetime_values.recency_days is 'Days from the first purchase to the last one: high is recent; 0 after a single purchase';
comment on column marts.customer_lifetime_values.age_days is 'Days from the first purchase to as_of_on';
comment on column marts.customer_lifetime_values.mean_purchase_value is 'Mean value of the purchases after the first one, in the currency; null where there is none';
comment on column marts.customer_lifetime_values.probability_alive is 'How likely the customer buys again at all. 1 after a single purchase: in this model a customer leaves only after a repeated one';
comment on column marts.customer_lifetime_values.horizon_days is 'How many days after as_of_on are predicted';
comment on column marts.customer_lifetime_values.expected_purchases is 'Purchases to expect within the horizon; null where nothing is predicted';
comment on column marts.customer_lifetime_values.expected_purchase_value is 'What one of them is worth, in the currency: between the customer''s own mean and everybody''s';
comment on column marts.customer_lifetime_values.predicted_value is 'expected_purchases * expected_purchase_value: revenue to expect within the horizon, not discounted and before costs; null where nothing is predicted, as marts.lifetime_value_models says';
comment on column marts.customer_lifetime_values.model_version is 'As in marts.lifetime_value_models';

select access.protect('marts.lifetime_value_models'), access.protect('marts.customer_lifetime_values');
