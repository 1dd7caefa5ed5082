{{ config(
    key=['company_id'],
    recompute='company_id',
    touched_by={'read_models.company_profile': 'company_id', 'marts.dim_leads': 'company_id'},
) }}

with companies as (
    select * from {{ ref('stg_companies') }}
),

leads as (
    select * from {{ ref('dim_leads') }}
),

leads_of_companies as (
    select
        tenant_id,
        company_id,
        count(*)::integer as leads,
        count(*) filter (where emails_replied > 0)::integer as leads_replied,
        sum(deals)::integer as deals,
        sum(deals_won)::integer as deals_won,
        max(last_contact_at) as last_contact_at
    from leads
    where {{ touched('leads.company_id') }}
    group by tenant_id, company_id
),

final as (
    select
        companies.tenant_id,
        companies.company_id,
        companies.name,
        companies.industry,
        companies.company_size,
        companies.domain,
        companies.region,
        companies.created_at,
        coalesce(leads_of_companies.leads, 0) as leads,
        coalesce(leads_of_companies.leads_replied, 0) as leads_replied,
        coalesce(leads_of_companies.deals, 0) as deals,
        coalesce(leads_of_companies.deals_won, 0) as deals_won,
        leads_of_companies.last_contact_at
    from companies
    left join leads_of_companies
        on
            companies.tenant_id = leads_of_companies.tenant_id
            and companies.company_id = leads_of_companies.company_id
    where {{ touched('companies.company_id') }}
)

select * from final
