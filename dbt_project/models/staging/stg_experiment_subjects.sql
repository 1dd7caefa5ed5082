select
    tenant_id,
    experiment_id,
    subject_id,
    variant,
    assigned_variant,
    exposed_at,
    last_converted_at,
    has_converted
from {{ source('read_models', 'experiment_exposures') }}
