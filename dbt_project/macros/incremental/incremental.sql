{# How every mart is built: the rows of the keys that its inputs touched since, or, where that cannot be told, all of
   them. One transaction: the rows, what they tell the marts downstream and the account of the build commit together.

   config:
     key: with tenant_id before it, what names a row; its unique index.
     recompute: the one column by which rows are made anew, beside the tenant: a key or a day. tenant_id: all of a tenant.
     touched_by: by relation that the model reads, the kind of key whose changes touch `recompute`; several as a list. Of
     event_log.events, the event types; their days are touched. Where `recompute` is not such a key itself: by kind, the
     SQL that leads from the changed keys, changed (tenant_id, key), to tenants and values of `recompute`.
   days_before, days_after: a touched day also touches so many days before it, and after it, as for a moving window.
     as_of_day: the rows show something relative to the watermark's day; when it turns, all rows of the tenant are touched.
     indexes: as dbt has it. #}
{% materialization incremental, adapter='postgres' %}
    {%- set target = this.incorporate(type='table') -%}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {%- set known = build_so_far(target) -%}
    {%- if known.is_incremental and not should_full_refresh() -%}
        {%- do build_touched(target, known.inputs) -%}
    {%- else -%}
        {%- do build_whole(target, known.inputs) -%}
    {%- endif -%}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {%- do adapter.commit() -%}
    {{ return({'relations': [target]}) }}
{% endmaterialization %}


{# The name of a relation as progress.changes has it. #}
{% macro told_as(relation) -%}
    {{ relation.schema }}.{{ relation.identifier }}
{%- endmacro %}


{% macro list_of(one_or_many) -%}
    {{ return([one_or_many] if one_or_many is string else one_or_many) }}
{%- endmacro %}


{# What is read, by the names that progress.builds.inputs has for it: of the log, each event type for itself. #}
{% macro inputs() -%}
    {%- set names = [] -%}
    {%- for relation, kinds in config.require('touched_by').items() -%}
        {%- if relation == 'event_log.events' -%}
            {%- for kind in list_of(kinds) -%}{%- do names.append(relation ~ '/' ~ kind) -%}{%- endfor -%}
        {%- else -%}
            {%- do names.append(relation) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(names) }}
{%- endmacro %}


{# A hash of what makes the table what it is, in whatever database. #}
{% macro made_by() -%}
    {%- set columns = [] -%}
    {%- for column in model.columns.values() -%}
        {%- do columns.append([column.name, column.data_type, column.constraints | map(attribute='type') | list]) -%}
    {%- endfor -%}
    {%- set declared = [columns] -%}
    {%- for name in ['key', 'recompute', 'touched_by', 'days_before', 'days_after', 'as_of_day', 'indexes'] -%}
        {%- do declared.append(config.get(name)) -%}
    {%- endfor -%}
    {{ return(local_md5(model.compiled_code | replace('"' ~ this.database ~ '".', '') ~ declared)) }}
{%- endmacro %}


{# What Dagster calls the version of the model's code: its text, and the project's variables and macros, which the run
   names. It says that something may have changed; whether the table has to be made anew, `made_by` says. #}
{% macro code_version() -%}
    {{ return(local_md5(model.checksum.checksum ~ env_var('PIPELINES_DBT_CODE', ''))[:12]) }}
{%- endmacro %}


{# Takes the mart's lock, and tells whether the rows that are there can be brought up to date, and up to which change of
   each input. That is read before the inputs are: what changes meanwhile is past it, and is read next time.

   A change of the log is noted with a pin. So the mart is built to the newest pin there is, though the run be pinned
   before: else it would count events as read that it does not reach. #}
{% macro build_so_far(target) -%}
    {%- call statement('so_far', fetch_result=True) -%}
        select pg_advisory_xact_lock(2018, hashtext('{{ target.schema }}/{{ target.identifier }}'));
        select
            coalesce(
                build.made_by = '{{ made_by() }}' and to_regclass('{{ target.include(database=False) }}') is not null
                and not exists (
                    select from progress.changes
                    cross join unnest(array['{{ inputs() | join("', '") }}']) as input
                    where
                        changes.model = split_part(input, '/', 1)
                        and changes.whole > coalesce((build.inputs ->> input)::bigint, 0)
                ),
                false
            ) as is_incremental,
            (
                select jsonb_object_agg(input, coalesce(changes.change, 0))
                from unnest(array['{{ inputs() | join("', '") }}']) as input
                left join progress.changes on changes.model = split_part(input, '/', 1)
            )::text as inputs,
            set_config('pipelines.up_to_position', greatest(
                nullif(current_setting('pipelines.up_to_position', true), '')::bigint,
                (select max(up_to_position) from progress.pins),
                0
            )::text, true) as up_to_position
        from (select) as nothing
        left join progress.builds as build
            on build.asset_key = '{{ target.schema }}/{{ target.identifier }}' and build.tenant_id = '*'
    {%- endcall -%}
    {%- set row = load_result('so_far').table.rows[0] -%}
    {{ return({'is_incremental': row[0], 'inputs': row[1]}) }}
{%- endmacro %}


{# Writes down how far the mart has come. `counted` is the query of its rows by tenant, in all or more than before, and
   how many of those before were changed or removed; `recomputed`, an expression, how many were computed. #}
{% macro account(target, inputs, counted, recomputed, is_whole) -%}
    {%- set asset_key = target.schema ~ '/' ~ target.identifier -%}
    with counted as (
        {{ counted }}
    ),

    totals as (
        select * from counted
        union all
        select '*', coalesce(sum(more), 0), coalesce(sum(restated), 0) from counted
    ),

    before as (
        select tenant_id, rows from progress.builds where asset_key = '{{ asset_key }}'
    ),

    accounted as (
        select
            tenant_id,
            coalesce(totals.more, 0) {{ '' if is_whole else '+ coalesce(before.rows, 0)' }} as rows,
            coalesce(totals.restated, 0) as restated
        from totals
        {{ 'left' if is_whole else 'full' }} join before using (tenant_id)
    ),

    gone as (
        delete from progress.builds
        where
            asset_key = '{{ asset_key }}'
            and tenant_id not in (select tenant_id from accounted where rows > 0 or tenant_id = '*')
    ),

    restated as (
        insert into progress.restatements as r (tenant_id, asset_key, restated_on, rows)
        select tenant_id, '{{ asset_key }}', (now() at time zone 'UTC')::date, restated
        from totals
        where restated > 0 and tenant_id <> '*'
        on conflict (tenant_id, asset_key, restated_on) do update set rows = r.rows + excluded.rows
    )

    insert into progress.builds as b (
        tenant_id, asset_key, position, watermark, rows, recomputed, restated, is_whole, seconds, code_version, made_by,
        inputs, run_id, built_at
    )
    select
        tenant_id,
        '{{ asset_key }}',
        progress.up_to_position(),
        progress.watermark(tenant_id),
        rows,
        case when tenant_id = '*' then {{ recomputed }} end,
        {{ 'null' if is_whole else 'restated' }},
        {{ is_whole }},
        extract(epoch from clock_timestamp() - now()),
        '{{ code_version() }}',
        '{{ made_by() }}',
        '{{ inputs }}',
        coalesce(nullif(current_setting('pipelines.run_id', true), ''), 'dbt'),
        clock_timestamp()
    from accounted
    where rows > 0 or tenant_id = '*'
    on conflict (tenant_id, asset_key) do update set
        position = excluded.position, watermark = excluded.watermark, rows = excluded.rows,
        recomputed = excluded.recomputed, restated = excluded.restated, is_whole = excluded.is_whole, seconds = excluded.seconds,
        code_version = excluded.code_version, made_by = excluded.made_by, inputs = excluded.inputs,
        run_id = excluded.run_id, built_at = excluded.built_at;
{%- endmacro %}
