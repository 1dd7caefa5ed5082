select
    tenant_id,
    company_id,
    company as name,
    industry,
    company_size,
    domain,
    region,
    created_at,
    leads_created
from {{ source('read_models', 'company_profile') }}
