{# "Now" for a tenant: the newest event time up to the position that this run builds to, never the wall clock. #}
{% macro watermark(tenant_id) -%}
    progress.watermark({{ tenant_id }})
{%- endmacro %}


{# The beginning of the UTC day that "now" is in. What depends on it changes when that day turns, and not with each
   event: a model that shows it says `as_of_day=true`. #}
{% macro as_of_day(tenant_id) -%}
    date_trunc('day', {{ watermark(tenant_id) }}, 'UTC')
{%- endmacro %}
