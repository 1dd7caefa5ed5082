with company_profile as (
    select * from {{ source('read_models', 'company_profile') }}
),

final as (
    select
        tenant_id,
        company_id,
        company as name,
        industry,
        company_size,
        domain,
        region,
        created_at,
        leads_created
    from company_profile
)

select * from final
