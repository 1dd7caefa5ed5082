{{ config(materialized='view', meta={'filters_itself': true}) }}

{# Shows something relative to the day of the tenant's watermark: out of date when that has turned. -#}
{% set of_a_day = [] -%}
{% if execute -%}
    {% for node in graph.nodes.values() if node.config.get('as_of_day') -%}
        {% do of_a_day.append(node.schema ~ '.' ~ node.name) -%}
    {% endfor -%}
    {% for node in graph.sources.values() if node.meta.get('as_of_day') -%}
        {% do of_a_day.append(node.schema ~ '.' ~ node.name) -%}
    {% endfor -%}
{% endif -%}
-- Not by way of staging: no other model reads the platform's bookkeeping.
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

-- Looked up by index, tenant by tenant: it has a row for each build.
watermarks as not materialized (
    select * from {{ source('progress', 'watermarks') }}
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

-- Every tenant of which anything was built, with its newest event time.
tenants as (
    select
        known.tenant_id,
        newest.watermark
    from (select distinct builds.tenant_id from builds) as known
    left join lateral (
        select watermarks.watermark
        from watermarks
        where watermarks.tenant_id = known.tenant_id
        order by watermarks.position desc
        limit 1
    ) as newest on true
    where known.tenant_id <> '*'
),

-- A mart is behind when something that it reads has changed since, when it is as of a day that has turned, or when a mart
-- that it reads is behind.
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

    select builds.relation
    from builds
    inner join tenants on builds.tenant_id = tenants.tenant_id
    where
        builds.relation in ('{{ of_a_day | join("', '") }}')
        and {{ utc_date('builds.watermark') }} < {{ utc_date('tenants.watermark') }}

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
        tenants.tenant_id,
        split_part(marts.asset_key, '/', 2) as mart,
        marts.position,
        (
            select watermarks.watermark
            from watermarks
            where watermarks.tenant_id = tenants.tenant_id and watermarks.position <= marts.position
            order by watermarks.position desc
            limit 1
        ) as watermark,
        marts.built_at,
        case
            when marts.inputs is not null
                then
                    marts.relation not in (select behind.relation from behind)
                    and not (select progress.has_waited('{{ var("fresh_within_minutes") }} minutes'))
        end as is_fresh,
        tested.has_passed_tests,
        coalesce(own.rows, 0) as rows,
        coalesce(restated.rows_restated, 0)::bigint as rows_restated
    from builds as marts
    cross join tenants
    left join builds as own
        on
            marts.asset_key = own.asset_key
            and tenants.tenant_id = own.tenant_id
    left join tested
        on marts.asset_key = tested.asset_key
    left join restated
        on
            marts.asset_key = restated.asset_key
            and tenants.tenant_id = restated.tenant_id
    where
        -- What stands for the asset as a whole, all tenants together; a view has no rows of its own.
        marts.tenant_id = '*'
        and marts.asset_key like 'marts/%'
        and marts.rows is not null
        -- BI may not read the bookkeeping, so this is done with the rights of the view's owner, who sees all tenants.
        and {{ visible('tenants.tenant_id') }}
)

select * from final
