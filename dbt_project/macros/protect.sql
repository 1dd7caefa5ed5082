{# Lets BI read a relation, each login the rows of its tenants: for the transaction in which the relation comes to be. #}
{% macro protect(relation) -%}
    {%- if relation.schema == 'marts' -%}
        select access.protect('{{ relation }}');
    {%- endif -%}
{%- endmacro %}
