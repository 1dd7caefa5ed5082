with models as (
    select * from {{ graph_models() }}
),

columns as (
    select * from {{ graph_columns() }}
),

violations as (
    select
        models.name as model,
        'show the currency beside the money' as remedy
    from models
    inner join columns on models.name = columns.model
    where models.materialized = 'incremental'
    group by models.name
    having
        bool_or(columns.name in (
            'revenue', 'amount', 'refunded_amount', 'opened_amount', 'expected_amount', 'won_amount', 'amount_now'
        ))
        and not bool_or(columns.name = 'currency')
)

select * from {{ unexcepted('violations') }}
