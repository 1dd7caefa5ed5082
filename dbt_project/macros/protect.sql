{# Lets BI read a relation, each login the rows of its tenants. Called in the transaction that puts a table in the place of
   the former one, with the table that is about to take it. #}
{% macro protect(relation) -%}
    {%- if relation.schema == 'marts' -%}
        select access.protect('{{ relation }}');
    {%- endif -%}
{%- endmacro %}
