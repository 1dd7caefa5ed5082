with models as (
    select * from {{ graph_models() }}
),

columns as (
    select * from {{ graph_columns() }}
),

touched_by as (
    select * from {{ graph_touched_by() }}
),

violations as (
    select
        touched_by.model,
        format('%s: it has no column %s to tell', touched_by.relation, touched_by.kind) as remedy
    from touched_by
    inner join models on touched_by.relation = models.schema || '.' || models.name
    left join columns
        on
            models.name = columns.model
            and touched_by.kind = columns.name
    where columns.name is null
)

select * from {{ unexcepted('violations') }}
