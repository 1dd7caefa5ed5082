select
    tenant_id,
    campaign_id,
    name,
    channel,
    launched_at,
    starts_on,
    ends_on,
    sends,
    emails_sent,
    emails_opened,
    emails_clicked,
    emails_replied,
    coupons_redeemed
from {{ source('read_models', 'campaign_performance') }}
