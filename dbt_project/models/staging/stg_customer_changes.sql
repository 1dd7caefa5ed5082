select
    tenant_id,
    customer_id,
    moment,
    changed_at,
    age_band,
    income_band,
    home_ownership,
    marital_status,
    household_size,
    household_composition,
    children,
    region,
    sales_representative_id
from {{ source('read_models', 'customer_changes') }}
