{{ config(
    key=['deal_id', 'stage'],
    recompute='deal_id',
    touched_by={'read_models.deal_stages': 'deal_id'},
) }}

with deal_stages as (
    select
        *,
        case stage when 'opened' then 0 when 'won' then 2 when 'lost' then 2 else 1 end as tie_order
    from {{ ref('stg_deal_stages') }}
),

-- A stage entered again counts from its first entry; where the deal is now is the stage it entered last. A deal that was
-- won or lost is over: what is told of stages after that does not put it back into one.
ordered as (
    select
        tenant_id,
        deal_id,
        stage,
        entered_at,
        entries,
        probability,
        tie_order,
        row_number() over in_order as stage_number,
        lead(stage) over in_order as next_stage,
        lead(entered_at) over in_order as next_entered_at,
        max(last_entered_at) over (partition by tenant_id, deal_id) as current_entered_at,
        row_number() over (
            partition by tenant_id, deal_id
            order by tie_order = 2 desc, last_entered_at desc, tie_order desc, stage collate "C"
        ) = 1 as is_current
    from deal_stages
    where {{ touched('deal_stages.deal_id') }}
    window in_order as (
        partition by tenant_id, deal_id
        order by entered_at, tie_order, stage collate "C"
    )
),

stays as (
    select
        *,
        case when not is_current then coalesce(next_entered_at, current_entered_at) end as left_at
    from ordered
),

final as (
    select
        tenant_id,
        deal_id,
        stage,
        stage_number::integer as stage_number,
        case when not (is_current and tie_order = 2) then next_stage end as next_stage,
        is_current,
        entered_at,
        {{ utc_date('entered_at') }} as entered_on,
        left_at,
        extract(epoch from left_at - entered_at) as seconds,
        entries::integer as entries,
        probability
    from stays
)

select * from final
