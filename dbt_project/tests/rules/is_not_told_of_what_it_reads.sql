with models as (
    select * from {{ graph_models() }}
),

inputs as (
    select * from {{ graph_inputs() }}
),

touched_by as (
    select * from {{ graph_touched_by() }}
),

violations as (
    select distinct
        models.name as model,
        case
            when touched_by.relation is null then format('%s: name it in touched_by, it is read', inputs.relation)
            else format('%s: take it out of touched_by, it is not read', touched_by.relation)
        end as remedy
    from inputs
    full join touched_by
        on
            inputs.model = touched_by.model
            and inputs.relation = touched_by.relation
    inner join models on coalesce(inputs.model, touched_by.model) = models.name
    where
        models.materialized = 'incremental'
        and (inputs.relation is null or touched_by.relation is null)
)

select * from {{ unexcepted('violations') }}
