{{ config(
    key=['lead_id'],
    recompute='lead_id',
    touched_by={'read_models.lead_analytics': 'lead_id', 'marts.fct_deals': 'lead_id'},
    indexes=[{'columns': ['tenant_id', 'company_id']}],
) }}

with leads as (
    select * from {{ ref('stg_leads') }}
),

deals as (
    select * from {{ ref('fct_deals') }}
),

deals_of_leads as (
    select
        tenant_id,
        lead_id,
        count(*)::integer as deals,
        count(*) filter (where status = 'won')::integer as deals_won
    from deals
    where {{ touched('deals.lead_id') }}
    group by tenant_id, lead_id
),

final as (
    select
        leads.tenant_id,
        leads.lead_id,
        leads.company_id,
        leads.industry,
        leads.company_size,
        leads.lead_source,
        leads.email_domain,
        leads.created_at,
        {{ utc_date('leads.created_at') }} as created_on,
        leads.qualification,
        leads.qualified_at,
        leads.disqualified_at,
        leads.score,
        leads.sales_representative_id,
        leads.emails_sent::integer as emails_sent,
        leads.emails_opened::integer as emails_opened,
        leads.emails_clicked::integer as emails_clicked,
        leads.emails_replied::integer as emails_replied,
        leads.emails_bounced::integer as emails_bounced,
        leads.introductions_made::integer as introductions_made,
        leads.unsubscribed_at,
        leads.last_contact_at,
        coalesce(deals_of_leads.deals, 0) as deals,
        coalesce(deals_of_leads.deals_won, 0) as deals_won
    from leads
    left join deals_of_leads
        on
            leads.tenant_id = deals_of_leads.tenant_id
            and leads.lead_id = deals_of_leads.lead_id
    where {{ touched('leads.lead_id') }}
)

select * from final
