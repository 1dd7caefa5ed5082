with models as (
    select * from {{ graph_models() }}
),

violations as (
    select
        name as model,
        'begin its description with "One row per"' as remedy
    from models
    where description not like 'One row per %'
)

select * from {{ unexcepted('violations') }}
