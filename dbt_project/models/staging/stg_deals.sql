select
    tenant_id,
    deal_id,
    lead_id,
    sales_representative_id,
    outcome,
    stage,
    opened_at,
    closed_at,
    opened_amount,
    expected_amount,
    won_amount,
    opened_currency,
    expected_currency,
    currency,
    lost_reason
from {{ source('read_models', 'deal_state') }}
