-- Series and forecasts.
create schema if not exists forecasts authorization pipelines_runtime;
set local role pipelines_runtime;
comment on schema forecasts is 'Daily series, and what to expect of them';

create table forecasts.series (
    tenant_id text not null,
    series text not null,
    unit text not null,
    day date not null,
    value numeric not null,
    primary key (tenant_id, series, unit, day)
);
comment on table forecasts.series is 'One row per tenant, series, unit and day (UTC), without gaps from the first day with revenue to the last day that was over at the tenant''s watermark';
comment on column forecasts.series.tenant_id is 'Whose data';
comment on column forecasts.series.series is 'What is counted: daily_revenue';
comment on column forecasts.series.unit is 'The unit of the values: a currency code';
comment on column forecasts.series.day is 'The day (UTC)';
comment on column forecasts.series.value is 'The value of that day, in the unit; 0 where nothing happened';

create table forecasts.forecasts (
    tenant_id text not null,
    series text not null,
    unit text not null,
    day date not null,
    horizon integer not null check (horizon > 0),
    mean double precision not null,
    lower double precision not null,
    upper double precision not null,
    level double precision not null check (level > 0 and level < 1),
    trained_until date not null,
    model text not null,
    primary key (tenant_id, series, unit, day),
    check (day = trained_until + horizon)
);
comment on table forecasts.forecasts is 'One row per tenant, series, unit and day ahead: the newest forecast. Estimates, not bookings; a series of less than 14 days has none';
comment on column forecasts.forecasts.tenant_id is 'Whose data';
comment on column forecasts.forecasts.series is 'As in forecasts.series';
comment on column forecasts.forecasts.unit is 'As in forecasts.series';
comment on column forecasts.forecasts.day is 'The day that is forecast (UTC)';
comment on column forecasts.forecasts.horizon is 'Days ahead of trained_until, from 1';
comment on column forecasts.forecasts.mean is 'The expected value, in the unit; never below 0';
comment on column forecasts.forecasts.lower is 'Lower end of the prediction interval, in the unit; never below 0';
comment on column forecasts.forecasts.upper is 'Upper end of the prediction interval, in the unit. Holds for one day at a time: sums of days have an interval of their own';
comment on column forecasts.forecasts.level is 'The share of days that should fall between lower and upper: 0.95';
comment on column forecasts.forecasts.trained_until is 'The last day the model has seen';
comment on column forecasts.forecasts.model is 'ETS(A,N,A): level and weekly pattern; ETS(A,Ad,A): with a damped trend; seasonal_naive: each weekday as a week ago';
