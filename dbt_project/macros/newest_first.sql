{# The order in which the first of several events is the one that holds. Position is no part of it: arrival decides nothing. #}
{% macro newest_first() -%}
    occurred_at desc, sequence desc, event_id desc, source desc
{%- endmacro %}
