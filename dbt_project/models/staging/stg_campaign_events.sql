select
    tenant_id,
    source,
    event_id,
    event_type,
    occurred_at,
    data ->> 'campaign_id' as campaign_id,
    data ->> 'lead_id' as lead_id,
    data ->> 'customer_id' as customer_id
from (
    {{ events([
        'campaign_sent',
        'email_sent',
        'email_opened',
        'email_clicked',
        'email_replied',
        'email_bounced',
        'email_marked_as_spam',
        'email_unsubscribed',
        'coupon_redeemed'
    ]) }}
) as events
