{# Makes a table by `create table as`, then adds what its contract demands. dbt's own way for a model with a contract is
   `insert into`, which Postgres never runs in parallel: half as long again for fct_order_lines. The names and types of
   the columns are compared with the contract first, as dbt does; nothing is made when they differ. #}
{% macro postgres__create_table_as(temporary, relation, sql) -%}
    {%- set is_contracted = config.get('contract').enforced and not temporary -%}
    {%- if is_contracted -%}
        {{ get_assert_columns_equivalent(sql) }}
        {%- set sql = get_select_subquery(sql) -%}
    {%- endif -%}
    create {{ 'temporary ' if temporary }}table {{ relation }} as (
        {{ sql }}
    );
    {%- set demands = [] -%}
    {%- for column in model.columns.values() if is_contracted -%}
        {%- for constraint in column.constraints -%}
            {%- if constraint.type != 'not_null' -%}
                {{ exceptions.raise_compiler_error('create_table_as knows not_null only, not ' ~ constraint.type) }}
            {%- endif -%}
            {%- do demands.append('alter column ' ~ adapter.quote(column.name) ~ ' set not null') -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- if demands %}
    alter table {{ relation }} {{ demands | join(', ') }};
    {%- endif -%}
{%- endmacro %}
