-- What dashboards ask, one statement each. Run by `python -m benchmarks dashboards` with pgbench, as a login of BI:
-- no statement names a tenant, row security does. Parameters are drawn anew for each run of a statement.

-- name: overview
-- Revenue, orders and deals of four weeks, and of the four before them.
\set day random(56, 364)
select
    currency,
    sum(revenue) filter (where revenue_on > date '2017-01-01' + :day - 28) as revenue,
    sum(revenue) filter (where revenue_on <= date '2017-01-01' + :day - 28) as previous_revenue,
    sum(orders) filter (where revenue_on > date '2017-01-01' + :day - 28) as orders,
    sum(deals_won) filter (where revenue_on > date '2017-01-01' + :day - 28) as deals_won
from marts.fct_daily_revenue
where revenue_on > date '2017-01-01' + :day - 56 and revenue_on <= date '2017-01-01' + :day
group by currency;

-- name: real_time
-- The app's use by hour, over a day up to any hour.
\set hour random(24, 8759)
select hour_at, active_workspaces, active_users, active_bots, executions, executions_failed, p95_ms
from marts.fct_usage_hours
where
    hour_at > timestamptz '2017-01-01 00:00:00Z' + (:hour - 24) * interval '1 hour'
    and hour_at <= timestamptz '2017-01-01 00:00:00Z' + :hour * interval '1 hour'
order by hour_at;

-- name: product_performance
-- The products that bring most in each currency, with their stock and margin.
select
    rankings.currency, rankings.revenue_rank, rankings.name, rankings.category, rankings.revenue, rankings.profit,
    products.stock_level, products.is_low_stock, products.margin
from marts.fct_product_rankings as rankings
inner join marts.dim_products as products using (tenant_id, product_id)
where rankings.revenue_rank <= 20
order by rankings.currency, rankings.revenue_rank;

-- name: customer_segments
-- How many customers are in each segment, and what they are worth.
select segment, currency, customers, lifetime_value, round(orders::numeric / customers, 2) as orders_per_customer
from marts.fct_customer_segments
order by segment, currency;

-- name: profit
-- Revenue, cost and profit by month, with growth.
select starts_on, currency, is_complete, revenue, cost, profit_after_refunds, growth, growth_on_last_year
from marts.fct_revenue_periods
where grain = 'month'
order by starts_on, currency;

-- name: region
-- The regions of a month against the month before.
\set month random(0, 11)
select region, currency, customers, orders, revenue, profit_after_refunds, revenue_share, revenue_rank, growth
from marts.fct_region_months
where month_on = (date '2017-01-01' + :month * interval '1 month')::date
order by currency, revenue_rank;

-- name: campaign
-- A campaign day by day.
\set campaign random(1, 24)
select days.active_on, campaigns.name, days.emails_sent, days.emails_opened, days.emails_clicked, days.emails_replied
from marts.dim_campaigns as campaigns
inner join marts.fct_campaign_days as days using (tenant_id, campaign_id)
where campaigns.campaign_id = :campaign::text
order by days.active_on;

-- name: funnel
-- The funnels of all campaigns, step by step. Medians of campaigns make no median of all; means do, weighted.
select
    step_number, step, sum(entered) as entered, sum(reached) as reached,
    sum(mean_seconds * timed) / nullif(sum(timed), 0) as mean_seconds
from marts.fct_funnel
group by step_number, step
order by step_number;

-- name: retention
-- How many of each month's new customers come back, month by month. A currency is a shop of its own.
select currency, cohort_month_on, months_since, is_complete, customers, retained, retention_rate
from marts.fct_customer_cohorts
order by currency, cohort_month_on, months_since;

-- name: rep_leaderboard
-- The first twenty sales representatives of a month, in each currency.
\set month random(0, 11)
select
    months.currency, months.revenue_rank, months.sales_representative_id, representatives.region, months.revenue,
    months.commission, months.deals_won, months.win_rate
from marts.fct_sales_representative_months as months
inner join marts.dim_sales_representatives as representatives using (tenant_id, sales_representative_id)
where months.month_on = (date '2017-01-01' + :month * interval '1 month')::date and months.revenue_rank <= 20
order by months.currency, months.revenue_rank;

-- name: agent_performance
-- The agents that executed most on a day; which they are is read from an index alone.
\set day random(0, 364)
with busiest as (
    select tenant_id, agent_id, executed_on
    from marts.fct_agent_days
    where executed_on = date '2017-01-01' + :day
    order by executions desc
    limit 20
)

select
    days.agent_id, agents.name, agents.model, days.executions, days.success_rate, days.p50_ms, days.p95_ms, days.p99_ms,
    days.credits
from busiest
inner join marts.fct_agent_days as days using (tenant_id, agent_id, executed_on)
inner join marts.dim_agents as agents using (tenant_id, agent_id)
order by days.executions desc;

-- name: workspace_summary
-- A workspace, and its last four weeks up to any day.
\set workspace random(1, 500)
\set day random(28, 364)
select
    workspaces.workspace_id, workspaces.plan, workspaces.credits_left, days.active_on, days.active_users, days.sessions,
    days.executions, days.credits_used
from marts.dim_workspaces as workspaces
left join marts.fct_workspace_days as days
    on
        workspaces.tenant_id = days.tenant_id
        and workspaces.workspace_id = days.workspace_id
        and days.active_on > date '2017-01-01' + :day - 28
        and days.active_on <= date '2017-01-01' + :day
where workspaces.workspace_id = :workspace::text
order by days.active_on;

-- name: forecast_against_actual
-- The last sixty days with what had been expected of each, and the thirty that are expected now.
select unit, day, series.value, expected.mean, expected.lower, expected.upper, expected.horizon
from forecasts.series
full join forecasts.forecasts as expected using (tenant_id, series, unit, day)
where series = 'daily_revenue' and day > date '2017-12-31' - 60
order by unit, day;

-- name: experiment
-- The variants of all experiments, with what a test of significance needs.
select
    variants.experiment_id, variants.variant, variants.exposures, variants.conversion_rate, metrics.metric,
    metrics.subjects, metrics.mean_value, metrics.variance_of_value
from marts.fct_experiment_variants as variants
left join marts.fct_experiment_metrics as metrics using (tenant_id, experiment_id, variant)
order by variants.experiment_id, variants.variant, metrics.metric;

-- name: pipeline
-- What is in each stage of the sales pipeline.
select mean_stage_number, stage, currency, deals_entered, deals_now, amount_now, conversion_rate, win_rate
from marts.fct_pipeline_stages
order by mean_stage_number, stage;

-- name: orders_of_a_day
-- From a day's bar to its newest orders.
\set day random(0, 364)
select order_id, customer_id, status, ordered_at, currency, revenue
from marts.fct_orders
where ordered_on = date '2017-01-01' + :day
order by ordered_at desc
limit 50;
