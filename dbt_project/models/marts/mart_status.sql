{{ config(materialized='view', meta={'filters_itself': true}) }}

-- Not by way of staging: dbt replaces a view by dropping the old one with every view that reads it, and this one must
-- not be missing while the warehouse is built.
with recursive builds as (
    select
        *,
        replace(asset_key, '/', '.') as relation
    from {{ source('progress', 'builds') }}
),

changes as (
    select * from {{ source('progress', 'changes') }}
),

touched as (
    select * from {{ source('progress', 'touched') }}
),

tests as (
    select * from {{ source('progress', 'tests') }}
),

restatements as (
    select * from {{ source('progress', 'restatements') }}
),

inputs as (
    select
        builds.relation,
        split_part(read.input, '/', 1) as input,
        nullif(split_part(read.input, '/', 2), '') as event_type,
        read.change::bigint as change
    from builds
    cross join lateral jsonb_each_text(builds.inputs) as read (input, change)
    where builds.tenant_id = '*'
),

-- A mart is behind when something that it reads has changed since, or when a mart that it reads is behind.
behind as (
    select inputs.relation
    from inputs
    inner join changes on inputs.input = changes.model
    where
        changes.whole > inputs.change
        or (inputs.event_type is null and changes.change > inputs.change)
        or exists (
            select from touched
            where
                inputs.event_type is not null
                and touched.model = inputs.input
                and touched.kind = inputs.event_type
                and touched.change > inputs.change
        )

    union

    select inputs.relation
    from inputs
    inner join behind on inputs.input = behind.relation
),

tested as (
    select
        asset_key,
        bool_and(passed) as has_passed_tests
    from tests
    group by asset_key
),

restated as (
    select
        tenant_id,
        asset_key,
        sum(rows) as rows_restated
    from restatements
    where restated_on >= {{ utc_date('now()') }} - 1
    group by tenant_id, asset_key
),

final as (
    select
        tenant_id,
        split_part(asset_key, '/', 2) as mart,
        builds.position,
        builds.watermark,
        builds.built_at,
        builds.relation not in (select behind.relation from behind) as is_fresh,
        tested.has_passed_tests,
        builds.rows,
        coalesce(restated.rows_restated, 0)::bigint as rows_restated
    from builds
    left join tested using (asset_key)
    left join restated using (tenant_id, asset_key)
    where
        asset_key like 'marts/%'
        -- What stands for the asset as a whole, all tenants together, is nobody's row.
        and tenant_id <> '*'
        -- BI may not read the bookkeeping, so this is done with the rights of the view's owner, who sees all tenants.
        and {{ visible('tenant_id') }}
)

select * from final
