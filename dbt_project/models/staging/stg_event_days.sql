select
    tenant_id,
    date::date as happened_on,
    events
from {{ source('read_models', 'event_days') }}
