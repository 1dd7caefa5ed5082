{%- set steps = ['sent', 'opened', 'clicked', 'replied'] -%}

{{ config(
    key=['campaign_id', 'step'],
    recompute='campaign_id',
    touched_by={'read_models.engagement_funnel': 'campaign_id'},
) }}

with campaign_leads as (
    select * from {{ ref('stg_campaign_leads') }}
),

-- The time of a step counts from the newest of the steps before it that had come by then: mail programs hide openings,
-- or show pictures, which tells of one, only after a click.
steps as (
    select
        campaign_leads.tenant_id,
        campaign_leads.campaign_id,
        steps.step_number,
        steps.step,
        campaign_leads.sent_at is not null as has_entered,
        steps.reached_at is not null as has_reached,
        campaign_leads.step = steps.step as has_stopped,
        extract(epoch from steps.reached_at - steps.before_at) as seconds
    from campaign_leads
    cross join
        lateral (
            values
            {% for step in steps %}
                (
                    {{ loop.index }},
                    '{{ step }}',
                    campaign_leads.{{ step }}_at,
                    greatest(
                        {% for before in steps[:loop.index0] -%}
                            case
                                when campaign_leads.{{ before }}_at <= campaign_leads.{{ step }}_at
                                    then campaign_leads.{{ before }}_at
                            end,
                        {% endfor -%}
                        null::timestamptz
                    )
                ){{ ',' if not loop.last }}
            {% endfor %}
        ) as steps (step_number, step, reached_at, before_at)
    where {{ touched('campaign_leads.campaign_id') }}
),

totals as (
    select
        tenant_id,
        campaign_id,
        step_number,
        step,
        count(*) filter (where has_entered)::integer as entered,
        count(*) filter (where has_reached)::integer as reached,
        count(*) filter (where has_stopped and step <> 'replied')::integer as dropped_off,
        count(seconds)::integer as timed,
        percentile_disc(0.5) within group (order by seconds) as median_seconds,
        avg(seconds) as mean_seconds
    from steps
    group by tenant_id, campaign_id, step_number, step
),

final as (
    select
        tenant_id,
        campaign_id,
        step,
        step_number,
        entered,
        reached,
        dropped_off,
        {{ ratio('reached', 'entered') }} as reached_rate,
        {{ ratio('reached', 'lag(reached) over (partition by tenant_id, campaign_id order by step_number)') }} as step_rate,
        timed,
        median_seconds,
        mean_seconds
    from totals
)

select * from final
