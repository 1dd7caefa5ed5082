{# The unbiased variance of so many numbers out of their sum and the sum of their squares; null for fewer than two. #}
{% macro sample_variance(total, squares, numbers) -%}
    (coalesce({{ squares }}, 0) - coalesce({{ total }}, 0) * coalesce({{ total }}, 0) / {{ numbers }})
    / nullif({{ numbers }} - 1, 0)
{%- endmacro %}
