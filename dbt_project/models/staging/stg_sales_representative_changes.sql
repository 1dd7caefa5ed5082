select
    tenant_id,
    sales_representative_id,
    moment,
    changed_at,
    region,
    commission_rate
from {{ source('read_models', 'sales_rep_changes') }}
