with models as (
    select * from {{ graph_models() }}
),

violations as (
    select
        name as model,
        'put it into a folder of staging, intermediate or marts; in staging it is a view' as remedy
    from models
    where
        schema not in ('staging', 'intermediate', 'marts')
        or (schema = 'staging' and materialized <> 'view')
)

select * from {{ unexcepted('violations') }}
