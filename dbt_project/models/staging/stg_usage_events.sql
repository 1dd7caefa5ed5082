select
    tenant_id,
    event_type,
    occurred_at,
    data ->> 'workspace_id' as workspace_id,
    case when event_type in ('session_started', 'agent_execution_started') then data ->> 'user_id' end as user_id,
    data ->> 'agent_id' as agent_id,
    (data ->> 'duration_ms')::integer as duration_ms,
    (data ->> 'credits')::numeric as credits
from (
    {{ events([
        'session_started',
        'agent_execution_started',
        'agent_execution_completed',
        'agent_execution_failed',
        'credits_used',
        'credits_granted'
    ]) }}
) as events
