{# How every view is made: in place, so that what is built upon it stays and readers never miss it; and not at all while
   it is as it was, which spares a run most of its statements. It accounts for itself. #}
{% materialization view, adapter='postgres' %}
    {%- set target = this.incorporate(type='view') -%}
    {%- set words = [model.description] -%}
    {%- for column in model.columns.values() -%}{%- do words.append(column.name ~ ': ' ~ column.description) -%}{%- endfor -%}
    {%- set made_by = local_md5(sql | replace('"' ~ this.database ~ '".', '') ~ words) -%}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {%- call statement('main', fetch_result=True) -%}
        {%- set unchanged -%}
            where exists (
                select from progress.builds
                where
                    asset_key = '{{ target.schema }}/{{ target.identifier }}' and made_by = '{{ made_by }}'
                    and to_regclass('{{ target.include(database=False) }}') is not null
            )
        {%- endset -%}
        {{ account_of_view(target, made_by, unchanged) }}
        returning 1
    {%- endcall -%}
    {%- if load_result('main').table.rows | length == 0 -%}
        {%- if config.get('contract').enforced -%}{{ get_assert_columns_equivalent(sql) }}{%- endif -%}
        {%- call statement('make') -%}
            do $make_view$
            begin
                execute $view$create or replace view {{ target }} as {{ sql }}$view$;
            exception when invalid_table_definition then
                -- A view that loses or changes columns; what is built upon it is made again by the build.
                drop view {{ target }} cascade;
                execute $view$create view {{ target }} as {{ sql }}$view$;
            end
            $make_view$;
            {{ comments(target) }}
            {{ protect(target) }}
            {{ account_of_view(target, made_by) }}
        {%- endcall -%}
    {%- endif -%}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {%- do adapter.commit() -%}
    {{ return({'relations': [target]}) }}
{% endmaterialization %}


{# Writes down that a view is there, if a condition holds. #}
{% macro account_of_view(target, made_by, condition='') -%}
    insert into progress.builds as b (
        tenant_id, asset_key, position, rows, seconds, code_version, made_by, run_id, built_at
    )
    select
        '*', '{{ target.schema }}/{{ target.identifier }}', progress.up_to_position(), null,
        extract(epoch from clock_timestamp() - now()), '{{ code_version() }}', '{{ made_by }}',
        coalesce(nullif(current_setting('pipelines.run_id', true), ''), 'dbt'), clock_timestamp()
    {{ condition }}
    on conflict (tenant_id, asset_key) do update set
        position = excluded.position, rows = excluded.rows, seconds = excluded.seconds,
        code_version = excluded.code_version, made_by = excluded.made_by, run_id = excluded.run_id,
        built_at = excluded.built_at
{%- endmacro %}


{# What the database tells whoever opens a table or view in a tool: the words of the YAML. #}
{% macro comments(relation) -%}
    comment on {{ relation.type }} {{ relation }} is {{ postgres_escape_comment(model.description) }};
    {% for column in model.columns.values() %}
        comment on column {{ relation }}.{{ column.name }} is {{ postgres_escape_comment(column.description) }};
    {% endfor %}
{%- endmacro %}
