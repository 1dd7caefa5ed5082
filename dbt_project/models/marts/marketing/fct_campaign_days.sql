{{ config(
    key=['campaign_id', 'active_on'],
    recompute='active_on',
    touched_by={'event_log.events': [
        'campaign_sent',
        'email_sent',
        'email_opened',
        'email_clicked',
        'email_replied',
        'email_bounced',
        'email_marked_as_spam',
        'email_unsubscribed',
        'coupon_redeemed',
    ]},
    indexes=[{'columns': ['tenant_id', 'active_on']}],
) }}

with campaign_events as (
    select * from {{ events_of_days(ref('stg_campaign_events')) }} as campaign_events
),

final as (
    select
        tenant_id,
        campaign_id,
        {{ utc_date('occurred_at') }} as active_on,
        count(*) filter (where event_type = 'campaign_sent')::integer as sends,
        count(*) filter (where event_type = 'email_sent')::integer as emails_sent,
        count(*) filter (where event_type = 'email_opened')::integer as emails_opened,
        count(*) filter (where event_type = 'email_clicked')::integer as emails_clicked,
        count(*) filter (where event_type = 'email_replied')::integer as emails_replied,
        count(*) filter (where event_type = 'email_bounced')::integer as emails_bounced,
        count(*) filter (where event_type = 'email_marked_as_spam')::integer as spam_complaints,
        count(*) filter (where event_type = 'email_unsubscribed')::integer as unsubscriptions,
        count(*) filter (where event_type = 'coupon_redeemed')::integer as coupons_redeemed
    from campaign_events
    where campaign_id is not null
    group by
        tenant_id,
        campaign_id,
        {{ utc_date('occurred_at') }}
)

select * from final
