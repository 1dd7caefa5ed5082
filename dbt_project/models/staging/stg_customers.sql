select
    tenant_id,
    customer_id,
    registered_at,
    age_band,
    income_band,
    home_ownership,
    marital_status,
    household_size,
    household_composition,
    children,
    region,
    sales_representative_id,
    coupons_redeemed
from {{ source('read_models', 'customer_profile') }}
