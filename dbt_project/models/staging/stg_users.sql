select
    tenant_id,
    user_id,
    workspace_id,
    role,
    is_declared_bot,
    invited_at,
    registered_at,
    onboarded_at,
    deactivated_at,
    sessions,
    session_seconds,
    executions_started,
    last_active_at
from {{ source('read_models', 'user_activity') }}
