{# "Now" for a tenant: the newest event time up to the position that this run builds to, never the wall clock. #}
{% macro watermark(tenant_id) -%}
    progress.watermark({{ tenant_id }})
{%- endmacro %}
