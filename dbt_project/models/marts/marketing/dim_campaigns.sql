{{ config(
    key=['campaign_id'],
    recompute='campaign_id',
    touched_by={'read_models.campaign_performance': 'campaign_id'},
) }}

with campaigns as (
    select * from {{ ref('stg_campaigns') }}
),

final as (
    select
        tenant_id,
        campaign_id,
        name,
        channel,
        launched_at,
        starts_on,
        ends_on,
        sends::integer as sends,
        emails_sent::integer as emails_sent,
        emails_opened::integer as emails_opened,
        emails_clicked::integer as emails_clicked,
        emails_replied::integer as emails_replied,
        coupons_redeemed::integer as coupons_redeemed
    from campaigns
    where {{ touched('campaigns.campaign_id') }}
)

select * from final
