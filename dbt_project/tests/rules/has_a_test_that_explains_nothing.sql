with tests as (
    select * from {{ graph_tests() }}
),

violations as (
    select
        coalesce(model, name) as model,
        format('%s: name it after its model, with what it holds, and describe it', name) as remedy
    from tests
    where
        coalesce(description, '') = ''
        or not starts_with(name, model || '_')
        or name like '%\_\_%'
)

select * from {{ unexcepted('violations') }}
