with models as (
    select * from {{ graph_models() }}
),

reads as (
    select * from {{ graph_reads() }}
),

violations as (
    select distinct
        models.name as model,
        format('%s: read it by a model of staging', reads.relation) as remedy
    from models
    inner join reads on models.name = reads.model
    where models.schema <> 'staging' and reads.is_source
)

select * from {{ unexcepted('violations') }}
