with models as (
    select * from {{ graph_models() }}
),

violations as (
    select
        name as model,
        'begin its name with stg_, int_, fct_ or dim_, as its schema asks, and its YAML with its name' as remedy
    from models
    where
        case schema
            when 'staging' then name not like 'stg\_%'
            when 'intermediate' then name not like 'int\_%'
            else name not like 'fct\_%' and name not like 'dim\_%'
        end
        or yaml <> regexp_replace(path, 'sql$', 'yml')
)

select * from {{ unexcepted('violations') }}
