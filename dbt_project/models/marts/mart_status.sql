{{ config(materialized='view') }}

with builds as (
    select * from {{ ref('stg_builds') }}
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
    where asset_key like 'marts/%'
)

select * from final
