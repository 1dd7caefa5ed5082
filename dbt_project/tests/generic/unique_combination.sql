{# Fails for every key that stands in more than one row. A key begins with tenant_id. #}
{% test unique_combination(model, columns) %}
    select
        {{ columns | join(", ") }},
        count(*) as rows_with_this_key
    from {{ model }}
    group by {{ columns | join(", ") }}
    having count(*) > 1
{% endtest %}
