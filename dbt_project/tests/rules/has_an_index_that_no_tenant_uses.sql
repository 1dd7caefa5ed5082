with models as (
    select * from {{ graph_models() }}
),

columns as (
    select * from {{ graph_columns() }}
),

indexed as (
    select
        models.name as model,
        indexed.name,
        indexed.position,
        coalesce(index.value ->> 'type' = 'brin', false) as is_brin
    from models
    cross join lateral jsonb_array_elements(models.indexes) as index (value)
    cross join lateral jsonb_array_elements_text(index.value -> 'columns') with ordinality as indexed (name, position)
),

violations as (
    select
        indexed.model,
        format('%s: index columns of the contract, tenant_id first', indexed.name) as remedy
    from indexed
    left join columns
        on
            indexed.model = columns.model
            and indexed.name = columns.name
    where
        columns.name is null
        or (indexed.position = 1 and indexed.name <> 'tenant_id' and not indexed.is_brin)
)

select * from {{ unexcepted('violations') }}
