{%- set counted = {
    'campaign_sent': 'sends',
    'email_sent': 'emails_sent',
    'email_opened': 'emails_opened',
    'email_clicked': 'emails_clicked',
    'email_replied': 'emails_replied',
    'email_bounced': 'emails_bounced',
    'email_marked_as_spam': 'spam_complaints',
    'email_unsubscribed': 'unsubscriptions',
    'coupon_redeemed': 'coupons_redeemed',
} -%}

{{ config(
    key=['campaign_id', 'active_on'],
    recompute='active_on',
    touched_by={'event_log.events': counted.keys() | list},
    indexes=[{'columns': ['tenant_id', 'active_on']}],
) }}

with campaign_events as (
    select * from {{ events_of_days(ref('stg_campaign_events')) }} as campaign_events
),

final as (
    select
        tenant_id,
        campaign_id,
        {{ utc_date('occurred_at') }} as active_on
        {%- for event_type, column in counted.items() %},
        count(*) filter (where event_type = '{{ event_type }}')::integer as {{ column }}
        {%- endfor %}
    from campaign_events
    where campaign_id is not null
    group by
        tenant_id,
        campaign_id,
        {{ utc_date('occurred_at') }}
)

select * from final
