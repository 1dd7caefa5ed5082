{# A share or a growth, to six places; null where it would be one of nothing. #}
{% macro ratio(numerator, denominator) -%}
    round(({{ numerator }})::numeric / nullif({{ denominator }}, 0), 6)
{%- endmacro %}
