{{ config(materialized='view', post_hook='{{ protect(this) }}') }}

-- Not by way of staging: dbt replaces a view by dropping the old one with every view that reads it, and this one must
-- not be missing while the warehouse is built.
with builds as (
    select * from {{ source('progress', 'builds') }}
),

final as (
    select
        tenant_id,
        split_part(asset_key, '/', 2) as mart,
        position,
        watermark,
        built_at,
        rows
    from builds
    where
        asset_key like 'marts/%'
        -- What stands for the asset as a whole, all tenants together, is nobody's row.
        and tenant_id <> '*'
)

select * from final
