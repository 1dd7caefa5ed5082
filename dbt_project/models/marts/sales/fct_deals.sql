{{ config(
    key=['deal_id'],
    recompute='deal_id',
    touched_by={'read_models.deal_state': 'deal_id'},
) }}

with deals as (
    select * from {{ ref('stg_deals') }}
),

final as (
    select
        tenant_id,
        deal_id,
        lead_id,
        sales_representative_id,
        coalesce(outcome, 'open') as status,
        opened_at,
        closed_at,
        {{ utc_date('closed_at') }} as closed_on,
        opened_amount,
        won_amount,
        currency,
        lost_reason
    from deals
    where {{ touched('deals.deal_id') }}
)

select * from final
