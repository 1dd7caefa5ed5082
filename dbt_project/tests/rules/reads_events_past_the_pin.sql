with models as (
    select * from {{ graph_models() }}
),

reads as (
    select * from {{ graph_reads() }}
),

violations as (
    select distinct
        models.name as model,
        'read the log by events()' as remedy
    from models
    inner join reads on models.name = reads.model
    where
        reads.relation = 'event_log.events'
        and not models.macros @> '["macro.analytics_pipelines.events"]'
)

select * from {{ unexcepted('violations') }}
