select
    tenant_id,
    experiment_id,
    variant,
    name,
    is_control,
    weight,
    started_at
from {{ source('read_models', 'experiment_variants') }}
