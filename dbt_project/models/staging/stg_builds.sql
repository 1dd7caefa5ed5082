with builds as (
    select * from {{ source('progress', 'builds') }}
),

final as (
    select
        tenant_id,
        asset_key,
        position,
        watermark,
        rows,
        built_at
    from builds
)

select * from final
