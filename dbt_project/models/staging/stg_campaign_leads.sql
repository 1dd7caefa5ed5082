select
    tenant_id,
    campaign_id,
    lead_id,
    sent_at,
    opened_at,
    clicked_at,
    replied_at,
    step
from {{ source('read_models', 'engagement_funnel') }}
