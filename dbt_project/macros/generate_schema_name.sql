{# A model's schema is the one it names, without the target's as a prefix: an asset key is schema/table. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ (custom_schema_name or target.schema) | trim }}
{%- endmacro %}
