with models as (
    select * from {{ graph_models() }}
),

tests as (
    select * from {{ graph_tests() }}
),

violations as (
    select
        models.name as model,
        format('add a unique_combination called %s_key_is_unique, of severity error', models.name) as remedy
    from models
    left join tests
        on
            models.name = tests.model
            and models.name || '_key_is_unique' = tests.name
            and tests.severity = 'error'
    where models.materialized = 'incremental' and tests.name is null
)

select * from {{ unexcepted('violations') }}
