{{ config(
    key=['product_id', 'valid_from_at'],
    recompute='product_id',
    touched_by={'read_models.product_changes': 'product_id'},
) }}

with changes as (
    select * from {{ ref('stg_product_changes') }}
    where {{ touched('product_id') }}
),

{% set described = ['name', 'department', 'category', 'brand'] -%}
{% set told = described + ['price', 'price_currency', 'cost_price', 'cost_currency'] -%}
-- A description is told as a whole, a price with its currency; what was not told at a moment stays as it was.
states as (
    select
        tenant_id,
        product_id,
        changed_at,
        {% for column in described %}
            (
                max(array[moment, {{ column }}]) filter (where added_at is not null) over moments
            )[2] as {{ column }},
        {% endfor %}
        trim_scale({{ last_told('price', 'numeric') }}) as price,
        {{ last_told('price_currency') }} as price_currency,
        trim_scale({{ last_told('cost_price', 'numeric') }}) as cost_price,
        (
            max(array[moment, cost_currency]) filter (where cost_price is not null) over moments
        )[2] as cost_currency
    from changes
    window moments as (partition by tenant_id, product_id order by moment)
),

compared as (
    select
        *,
        lag(row({{ told | join(', ') }})::text) over product_states as earlier,
        row({{ told | join(', ') }})::text as now_told
    from states
    window product_states as (partition by tenant_id, product_id order by changed_at)
),

-- What was told again, unchanged, begins no new row.
final as (
    select
        tenant_id,
        product_id,
        changed_at as valid_from_at,
        lead(changed_at) over product_states as valid_to_at,
        lead(changed_at) over product_states is null as is_current,
        {{ told | join(',\n        ') }}
    from compared
    where now_told is distinct from earlier
    window product_states as (partition by tenant_id, product_id order by changed_at)
)

select * from final
