{# Makes the touched rows anew and puts those that differ in the place of those that are there. #}
{% macro build_touched(target, inputs) -%}
    {%- call statement('touched', fetch_result=True) -%}
        create temporary table touched on commit drop as
        {{ touched_keys(target) }};
        analyze touched;
        select count(*) from touched
    {%- endcall -%}
    {%- if load_result('touched').table.rows[0][0] == 0 -%}
        {%- call statement('main') -%}
            {{ account(target, inputs, 'select null::text as tenant_id, 0 as more, 0 as restated where false', '0', false) }}
        {%- endcall -%}
        {{ return('') }}
    {%- endif -%}
    {%- set columns = model.columns.keys() | list -%}
    {%- set recompute = config.require('recompute') -%}
    {%- set keys = key_columns() -%}
    {%- set same_key -%}
        {%- for column in keys -%}live.{{ column }} = changed.{{ column }}{{ ' and ' if not loop.last }}{%- endfor -%}
    {%- endset -%}
    {%- set kinds = told_kinds(target) -%}
    {%- call statement('main') -%}
        create temporary table fresh on commit drop as
        select {{ columns | join(', ') }} from (
            {{ as_incremental(sql) }}
        ) as model;

        {# As images: 1.0 and 1.00 are equal, and not the same. -#}
        create temporary table changed on commit drop as
        select
            {{ keys | join(', ') }},
            live.tenant_id is not null as was_there,
            fresh.tenant_id is not null as is_there
        from (
            select {{ columns | join(', ') }} from {{ target }}
            where {{ as_incremental(touched(recompute, 'tenant_id')) }}
        ) as live
        full join fresh using ({{ keys | join(', ') }})
        where live.tenant_id is null or fresh.tenant_id is null or live *<> fresh;
        analyze changed;

        {% if kinds -%}
            with changed_rows as (
                select live.* from {{ target }} as live
                inner join changed on {{ same_key }} and changed.was_there
                union all
                select live.{{ columns | join(', live.') }} from fresh as live
                inner join changed on {{ same_key }} and changed.is_there
            ),

            change as materialized (
                select progress.note_change('{{ told_as(target) }}') as number where exists (select from changed)
            )

            insert into progress.touched (model, kind, tenant_id, key, change, position)
            select distinct
                '{{ told_as(target) }}', told.kind, changed_rows.tenant_id, told.key, change.number,
                progress.up_to_position()
            from changed_rows
            cross join change
            cross join lateral (values
                {% for kind in kinds %}('{{ kind }}', changed_rows.{{ kind }}::text){{ ', ' if not loop.last }}{% endfor %}
            ) as told (kind, key)
            where told.key is not null
            on conflict (model, kind, tenant_id, key) do update set
                change = excluded.change, position = excluded.position;
        {%- endif %}

        delete from {{ target }} as live using changed where {{ same_key }} and changed.was_there;
        insert into {{ target }} ({{ columns | join(', ') }})
        select live.{{ columns | join(', live.') }} from fresh as live
        inner join changed on {{ same_key }} and changed.is_there;

        {%- set counted -%}
            select
                tenant_id,
                count(*) filter (where is_there) - count(*) filter (where was_there) as more,
                count(*) filter (where was_there) as restated
            from changed
            group by tenant_id
        {%- endset %}
        {{ account(target, inputs, counted, '(select count(*) from fresh)', false) }}
    {%- endcall -%}
{%- endmacro %}


{# The query of the keys to make anew: what the inputs touched since, the keys whose days the run names, and all keys of
   the tenants whose day has turned. #}
{% macro touched_keys(target) -%}
    {%- set recompute = config.require('recompute') -%}
    {%- set type = 'text' if recompute == 'tenant_id' else model.columns[recompute].data_type -%}
    {%- set asset_key = target.schema ~ '/' ~ target.identifier -%}
    {%- set days_before = config.get('days_before', default=0) -%}
    {%- set days_after = config.get('days_after', default=0) -%}
    {%- set day = day_column() -%}
    with new_keys (tenant_id, key) as (
        {% for relation, kinds in config.require('touched_by').items() -%}
            {%- for kind in list_of(kinds) %}
                {%- set told -%}
                    select touched.tenant_id, touched.key
                    from progress.touched
                    where
                        touched.model = '{{ relation }}'
                        {% if recompute != 'tenant_id' or relation == 'event_log.events' -%}
                            and touched.kind = '{{ kind }}'
                        {%- endif %}
                        and touched.change > (
                            select coalesce((inputs ->> '{{ relation }}{{ '/' ~ kind if relation == 'event_log.events' }}')::bigint, 0)
                            from progress.builds where asset_key = '{{ asset_key }}' and tenant_id = '*'
                        )
                {%- endset %}
                {% if kinds is mapping -%}
                    select * from (with changed as materialized ({{ told }}) {{ kinds[kind] }}) as led_to
                {%- else -%}
                    select told.tenant_id, {{ 'null' if recompute == 'tenant_id' else 'told.key::' ~ type }} as key
                    from ({{ told }}) as told
                {%- endif %}
                union all
            {%- endfor -%}
        {%- endfor %}
        {% if config.get('as_of_day') -%}
            select live.tenant_id, live.{{ recompute }}
            from {{ target }} as live
            where live.tenant_id in (
                select builds.tenant_id from progress.builds
                where
                    builds.asset_key = '{{ asset_key }}' and builds.tenant_id <> '*'
                    and {{ utc_date('builds.watermark') }}
                    is distinct from {{ utc_date('progress.watermark(builds.tenant_id)') }}
            )
            union all
        {%- endif %}
        {% if day == recompute -%}
            {#- Of all tenants, so that a day whose rows are lost comes back. -#}
            select tenants.tenant_id, chosen.day::date
            from (select distinct tenant_id from progress.watermarks) as tenants
            cross join generate_series({{ chosen('first', day) }}, {{ chosen('last', day) }}, interval '1 day') as chosen (day)
            union all
        {%- elif day -%}
            select live.tenant_id, live.{{ recompute }}
            from {{ target }} as live
            where live.{{ day }} between {{ chosen('first', day) }} and {{ chosen('last', day) }}
            union all
        {%- endif %}
        select null::text, null::{{ type }} where false
    )

    {% if recompute == 'tenant_id' -%}
        select distinct tenant_id from new_keys
    {%- elif days_before or days_after -%}
        select distinct new_keys.tenant_id, new_keys.key + days.number as {{ recompute }}
        from new_keys cross join generate_series(-{{ days_before }}, {{ days_after }}) as days (number)
    {%- else -%}
        select distinct tenant_id, key as {{ recompute }} from new_keys where key is not null
    {%- endif %}
{%- endmacro %}


{# The first or the last day that the run names, null if it names none; of a column of months, the first of its month. #}
{% macro chosen(end, column) -%}
    {%- set day = "nullif(current_setting('pipelines." ~ end ~ "_day', true), '')::timestamp" -%}
    {{ "date_trunc('month', " ~ day ~ ")" if 'month' in column else day }}
{%- endmacro %}


{# The column that says of which day a row is: `recompute` where that is a day, else the first day of the contract. #}
{% macro day_column() -%}
    {%- set recompute = config.require('recompute') -%}
    {%- set days = model.columns.values() | selectattr('data_type', 'equalto', 'date') | map(attribute='name') | list -%}
    {{ return(recompute if recompute in days else (days | first)) }}
{%- endmacro %}


{# The columns whose values marts downstream want to be told of. #}
{% macro told_kinds(target) -%}
    {%- set kinds = [] -%}
    {%- for node in graph.nodes.values() if node.resource_type == 'model' -%}
        {%- for kind in list_of((node.config.get('touched_by') or {}).get(told_as(target), [])) if kind not in kinds -%}
            {%- do kinds.append(kind) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(kinds) }}
{%- endmacro %}
