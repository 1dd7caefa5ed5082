with campaign_performance as (
    select * from {{ source('read_models', 'campaign_performance') }}
),

final as (
    select
        tenant_id,
        campaign_id,
        name,
        channel,
        status,
        launched_at,
        completed_at,
        starts_on,
        ends_on,
        audience,
        sends,
        emails_sent,
        emails_opened,
        emails_clicked,
        emails_replied,
        emails_bounced,
        spam_complaints,
        unsubscriptions,
        coupons_redeemed
    from campaign_performance
)

select * from final
