with models as (
    select * from {{ graph_models() }}
),

violations as (
    select
        name as model,
        'leave its contract enforced' as remedy
    from models
    where schema <> 'staging' and not has_contract
)

select * from {{ unexcepted('violations') }}
