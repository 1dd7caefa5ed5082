{# The UTC day of a moment, whatever time zone the session is in. #}
{% macro utc_date(moment) -%}
    ({{ moment }} at time zone 'UTC')::date
{%- endmacro %}
