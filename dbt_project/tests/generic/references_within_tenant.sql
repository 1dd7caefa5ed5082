{# Fails for every value of a column that the other table does not have for the same tenant. #}
{% test references_within_tenant(model, column_name, to) %}
{# Reads two tables from end to end. #}
{{ config(tags=['nightly']) }}
    select distinct
        referring.tenant_id,
        referring.{{ column_name }}
    from {{ model }} as referring
    left join {{ to }} as referred
        on
            referring.tenant_id = referred.tenant_id
            and referring.{{ column_name }} = referred.{{ column_name }}
    where
        referring.{{ column_name }} is not null
        and referred.tenant_id is null
{% endtest %}
