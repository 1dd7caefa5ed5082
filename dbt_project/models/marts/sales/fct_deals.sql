{{ config(
    key=['deal_id'],
    recompute='deal_id',
    touched_by={'read_models.deal_state': 'deal_id'},
    indexes=[
        {'columns': ['tenant_id', 'lead_id']},
        {'columns': ['tenant_id', 'closed_on']},
        {'columns': ['tenant_id', 'month_on']},
    ],
) }}

-- Amounts are never converted: one in another currency than the deal ended in, or has now, is not shown.
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
        {{ utc_month('closed_at') }} as month_on,
        coalesce(outcome, stage, 'opened') as stage,
        case when opened_currency = currency then opened_amount end as opened_amount,
        case when expected_currency = currency then expected_amount end as expected_amount,
        won_amount,
        currency,
        lost_reason
    from deals
    where {{ touched('deals.deal_id') }}
)

select * from final
