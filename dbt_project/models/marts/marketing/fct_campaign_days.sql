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
    tells=['campaign_id'],
) }}

with events as (
    {{ events_of_days(counted.keys() | list) }}
),

final as (
    select
        tenant_id,
        data ->> 'campaign_id' as campaign_id,
        {{ utc_date('occurred_at') }} as active_on
        {%- for event_type, column in counted.items() %},
        count(*) filter (where event_type = '{{ event_type }}')::integer as {{ column }}
        {%- endfor %}
    from events
    where data ->> 'campaign_id' is not null
    group by
        tenant_id,
        data ->> 'campaign_id',
        {{ utc_date('occurred_at') }}
)

select * from final
