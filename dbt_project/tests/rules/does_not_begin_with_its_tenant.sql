with models as (
    select * from {{ graph_models() }}
),

columns as (
    select * from {{ graph_columns() }}
),

violations as (
    select
        models.name as model,
        'describe tenant_id first' as remedy
    from models
    left join columns
        on
            models.name = columns.model
            and columns.position = 1
    where columns.name is distinct from 'tenant_id'
)

select * from {{ unexcepted('violations') }}
