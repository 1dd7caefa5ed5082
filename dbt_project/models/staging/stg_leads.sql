with lead_analytics as (
    select * from {{ source('read_models', 'lead_analytics') }}
),

final as (
    select
        tenant_id,
        lead_id,
        company_id,
        industry,
        company_size,
        lead_source,
        email_domain,
        created_at,
        qualification,
        qualified_at,
        disqualified_at,
        score,
        sales_representative_id,
        emails_sent,
        emails_opened,
        emails_clicked,
        emails_replied,
        emails_bounced,
        introductions_made,
        unsubscribed_at,
        last_contact_at
    from lead_analytics
)

select * from final
