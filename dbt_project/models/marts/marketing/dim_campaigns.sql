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
)

select * from final
