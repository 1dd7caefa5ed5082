with sales_rep_changes as (
    select * from {{ source('read_models', 'sales_rep_changes') }}
),

final as (
    select
        tenant_id,
        sales_representative_id,
        moment,
        changed_at,
        region,
        commission_rate
    from sales_rep_changes
)

select * from final
