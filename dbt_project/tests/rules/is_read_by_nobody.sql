with models as (
    select * from {{ graph_models() }}
),

reads as (
    select * from {{ graph_reads() }}
),

violations as (
    select
        models.name as model,
        'remove it' as remedy
    from models
    left join reads on models.schema || '.' || models.name = reads.relation
    where models.schema = 'staging' and reads.relation is null
)

select * from {{ unexcepted('violations') }}
