{{ config(
    key=['campaign_id'],
    recompute='campaign_id',
    touched_by={
        'read_models.campaign_performance': 'campaign_id',
        'marts.fct_campaign_attribution': 'campaign_id',
    },
) }}

with campaigns as (
    select * from {{ ref('stg_campaigns') }}
),

attribution as (
    select * from {{ ref('fct_campaign_attribution') }}
),

-- Conversions of several currencies may be added up; revenue may not.
conversions as (
    select
        tenant_id,
        campaign_id,
        sum(conversions) filter (where attribution_model = 'last')::integer as converted
    from attribution
    where {{ touched('attribution.campaign_id') }}
    group by tenant_id, campaign_id
),

final as (
    select
        campaigns.tenant_id,
        campaigns.campaign_id,
        campaigns.name,
        campaigns.channel,
        campaigns.status,
        campaigns.launched_at,
        campaigns.completed_at,
        campaigns.starts_on,
        campaigns.ends_on,
        campaigns.audience,
        {% for counted in [
            'sends', 'emails_sent', 'emails_opened', 'emails_clicked', 'emails_replied', 'emails_bounced',
            'spam_complaints', 'unsubscriptions', 'coupons_redeemed',
        ] -%}
            campaigns.{{ counted }}::integer as {{ counted }},
        {% endfor -%}
        coalesce(conversions.converted, 0) as converted,
        {% for counted in ['opened', 'clicked', 'replied', 'bounced'] -%}
            {{ ratio('campaigns.emails_' ~ counted, 'campaigns.emails_sent') }} as {{ counted }}_rate,
        {% endfor -%}
        {{ ratio('campaigns.coupons_redeemed', 'campaigns.sends') }} as redeemed_rate
    from campaigns
    left join conversions
        on
            campaigns.tenant_id = conversions.tenant_id
            and campaigns.campaign_id = conversions.campaign_id
    where {{ touched('campaigns.campaign_id') }}
)

select * from final
