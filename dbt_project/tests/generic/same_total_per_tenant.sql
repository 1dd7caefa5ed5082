{# Fails for every tenant whose total differs between two tables; a tenant that one of them does not have has 0 there. #}
{% test same_total_per_tenant(model, expression, to, to_expression=none) %}
{# Reads two tables from end to end. #}
{{ config(tags=['nightly']) }}
    with here as (
        select
            tenant_id,
            {{ expression }} as total
        from {{ model }}
        group by tenant_id
    ),

    there as (
        select
            tenant_id,
            {{ to_expression or expression }} as total
        from {{ to }}
        group by tenant_id
    )

    select
        tenant_id,
        here.total as total_here,
        there.total as total_there
    from here
    full outer join there using (tenant_id)
    where coalesce(here.total, 0) <> coalesce(there.total, 0)
{% endtest %}
