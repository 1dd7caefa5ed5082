{# A limit of money out of a variable: one for all currencies, or by currency, and one called default for all others.
   Money is never converted, so that a limit in one currency says nothing of another. #}
{% macro threshold(variable, currency='currency', type='numeric') -%}
    {%- set limits = var(variable) if var(variable) is mapping else {'default': var(variable)} -%}
    case
        {%- for name, limit in limits.items() if name != 'default' %}
            when {{ currency }} = '{{ name }}' then {{ 'array' if limit is sequence }}{{ limit }}::{{ type }}
        {%- endfor %}
        when true then {{ 'array' if limits.default is sequence }}{{ limits.default }}::{{ type }}
    end
{%- endmacro %}
