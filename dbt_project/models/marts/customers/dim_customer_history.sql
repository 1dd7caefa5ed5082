{{ config(
    key=['customer_id', 'valid_from_at'],
    recompute='customer_id',
    touched_by={'read_models.customer_changes': 'customer_id'},
) }}

with changes as (
    select * from {{ ref('stg_customer_changes') }}
    where {{ touched('customer_id') }}
),

{% set told = [
    'age_band', 'income_band', 'home_ownership', 'marital_status', 'household_size', 'household_composition',
    'children', 'region', 'sales_representative_id'
] -%}
-- What was not told at a moment stays as it was.
states as (
    select
        tenant_id,
        customer_id,
        {% for column in told %}
            {{ last_told(column) }} as {{ column }},
        {% endfor %}
        changed_at
    from changes
    window moments as (partition by tenant_id, customer_id order by moment)
),

compared as (
    select
        *,
        lag(row({{ told | join(', ') }})::text) over customer_states as earlier,
        row({{ told | join(', ') }})::text as now_told
    from states
    window customer_states as (partition by tenant_id, customer_id order by changed_at)
),

-- What was told again, unchanged, begins no new row.
final as (
    select
        tenant_id,
        customer_id,
        changed_at as valid_from_at,
        lead(changed_at) over customer_states as valid_to_at,
        lead(changed_at) over customer_states is null as is_current,
        {{ told | join(',\n        ') }}
    from compared
    where now_told is distinct from earlier
    window customer_states as (partition by tenant_id, customer_id order by changed_at)
)

select * from final
