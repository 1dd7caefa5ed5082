with inputs as (
    select * from {{ graph_inputs() }}
),

touched_by as (
    select * from {{ graph_touched_by() }}
),

violations as (
    select
        touched_by.model,
        format('%s: take it out of touched_by, or read it', touched_by.kind) as remedy
    from touched_by
    left join inputs
        on
            touched_by.model = inputs.model
            and touched_by.relation = inputs.relation
            and touched_by.kind = inputs.event_type
    where touched_by.relation = 'event_log.events' and inputs.model is null
)

select * from {{ unexcepted('violations') }}
