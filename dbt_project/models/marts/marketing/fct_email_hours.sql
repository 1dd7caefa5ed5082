{{ config(
    key=['campaign_id', 'weekday', 'hour_of_day'],
    recompute='campaign_id',
    touched_by={'read_models.engagement_funnel': 'campaign_id'},
) }}

with campaign_leads as (
    select * from {{ ref('stg_campaign_leads') }}
),

final as (
    select
        tenant_id,
        campaign_id,
        extract(isodow from sent_at at time zone 'UTC')::integer as weekday,
        extract(hour from sent_at at time zone 'UTC')::integer as hour_of_day,
        count(*)::integer as leads,
        count(opened_at)::integer as leads_opened,
        count(clicked_at)::integer as leads_clicked,
        count(replied_at)::integer as leads_replied,
        {{ ratio('count(opened_at)', 'count(*)') }} as open_rate,
        {{ ratio('count(clicked_at)', 'count(*)') }} as click_rate,
        {{ ratio('count(replied_at)', 'count(*)') }} as reply_rate
    from campaign_leads
    where
        sent_at is not null
        and {{ touched('campaign_leads.campaign_id') }}
    group by
        tenant_id,
        campaign_id,
        extract(isodow from sent_at at time zone 'UTC')::integer,
        extract(hour from sent_at at time zone 'UTC')::integer
)

select * from final
