{# Makes the table beside, with all that belongs to it, and puts it in the place of the former one. #}
{% macro build_whole(target, inputs) -%}
    {%- set beside = make_intermediate_relation(target) -%}
    {%- call statement('main') -%}
        {{ get_create_table_as_sql(False, beside, sql) }}
    {%- endcall -%}
    {%- call statement('whole') -%}
        create unique index on {{ beside }} ({{ key_columns() | join(', ') }});
        {% for index in config.get('indexes', default=[]) %}
            create {{ 'unique ' if index.unique }}index on {{ beside }}
            using {{ index.type or 'btree' }} ({{ index.columns | join(', ') }})
            {{ 'include (' ~ index.include | join(', ') ~ ')' if index.include }}
            {{ 'where ' ~ index.where if index.where }};
        {% endfor %}
        {{ comments(beside) }}
        analyze {{ beside }};
        {{ protect(beside) }}
        select progress.swap_table('{{ target.schema }}', '{{ target.identifier }}', '{{ beside.identifier }}');
        select progress.note_change('{{ told_as(target) }}', true);
        delete from progress.touched where model = '{{ told_as(target) }}';
        {{ account(target, inputs, 'select tenant_id, count(*) as more, 0 as restated from ' ~ target ~ ' group by tenant_id', 'rows', true) }}
    {%- endcall -%}
{%- endmacro %}


{# What names a row: the tenant and the declared key. #}
{% macro key_columns() -%}
    {%- set columns = ['tenant_id'] -%}
    {%- for column in list_of(config.require('key')) if column != 'tenant_id' -%}{%- do columns.append(column) -%}{%- endfor -%}
    {{ return(columns) }}
{%- endmacro %}
