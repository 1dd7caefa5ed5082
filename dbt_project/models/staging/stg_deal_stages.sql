with deal_stages as (
    select * from {{ source('read_models', 'deal_stages') }}
),

final as (
    select
        tenant_id,
        deal_id,
        stage,
        entered_at,
        last_entered_at,
        entries,
        probability
    from deal_stages
)

select * from final
