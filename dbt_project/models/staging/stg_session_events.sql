select
    tenant_id,
    event_type,
    occurred_at,
    data ->> 'session_id' as session_id,
    data ->> 'user_id' as user_id,
    data ->> 'workspace_id' as workspace_id
from (
    {{ events(['session_started', 'session_ended'] + var('session_activity') | list) }}
) as events
