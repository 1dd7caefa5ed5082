select
    tenant_id,
    deal_id,
    stage,
    entered_at,
    last_entered_at,
    entries,
    probability
from {{ source('read_models', 'deal_stages') }}
