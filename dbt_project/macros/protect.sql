{# Lets BI read a relation, each login the rows of its tenants. Called in the transaction that puts a table in the place of
   the former one, with the table that is about to take it. A view of what BI may not read says so in its meta,
   filters_itself, and shows `visible` rows only. #}
{% macro protect(relation) -%}
    {%- if relation.schema == 'marts' -%}
        select access.protect('{{ relation }}', {{ config.get('meta', {}).get('filters_itself', false) }});
    {%- endif -%}
{%- endmacro %}


{# Whether the session's login sees the rows of a tenant: for a view that filters itself. #}
{% macro visible(tenant_id) -%}
    ((select access.sees_all()) or {{ tenant_id }} = any((select access.visible_tenants())::text[]))
{%- endmacro %}
