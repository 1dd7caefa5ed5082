select
    tenant_id,
    sales_representative_id,
    region,
    commission_rate,
    registered_at,
    leads_assigned,
    customers_assigned,
    meetings_held,
    active_days,
    last_event_at
from {{ source('read_models', 'sales_rep_activity') }}
