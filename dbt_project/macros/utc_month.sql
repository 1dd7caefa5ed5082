{# The first day of the UTC month of a moment, whatever time zone the session is in. #}
{% macro utc_month(moment) -%}
    date_trunc('month', {{ moment }} at time zone 'UTC')::date
{%- endmacro %}
