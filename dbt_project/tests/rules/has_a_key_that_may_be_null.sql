with models as (
    select * from {{ graph_models() }}
),

columns as (
    select * from {{ graph_columns() }}
),

needed as (
    select
        models.name as model,
        key.name
    from models
    cross join lateral jsonb_array_elements_text(models.key || '["tenant_id"]') as key (name)
    union
    select
        name as model,
        recompute as name
    from models
    where recompute is not null
),

violations as (
    select
        needed.model,
        format('%s: make it a column that is not_null', needed.name) as remedy
    from needed
    left join columns
        on
            needed.model = columns.model
            and needed.name = columns.name
            and columns.is_never_null
    where columns.name is null
)

select * from {{ unexcepted('violations') }}
