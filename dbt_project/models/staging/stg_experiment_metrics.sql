select
    tenant_id,
    experiment_id,
    subject_id,
    metric,
    moments as conversions
from {{ source('read_models', 'experiment_conversions') }}
