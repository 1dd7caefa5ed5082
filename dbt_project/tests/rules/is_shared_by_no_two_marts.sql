with models as (
    select * from {{ graph_models() }}
),

reads as (
    select * from {{ graph_reads() }}
),

violations as (
    select
        models.name as model,
        'move it into the mart that reads it' as remedy
    from models
    left join reads on models.schema || '.' || models.name = reads.relation
    where models.schema = 'intermediate'
    group by models.name
    having count(distinct reads.model) < 2
)

select * from {{ unexcepted('violations') }}
