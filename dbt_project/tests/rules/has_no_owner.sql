with models as (
    select * from {{ graph_models() }}
),

violations as (
    select
        name as model,
        'name its owner in meta' as remedy
    from models
    where owner is null
)

select * from {{ unexcepted('violations') }}
