{{ config(
    key=['user_id'],
    recompute='user_id',
    touched_by={'marts.dim_users': 'user_id'},
) }}

-- A table of its own, as users change with all that they do, and hardly ever in this.
with users as (
    select * from {{ ref('dim_users') }}
),

final as (
    select
        tenant_id,
        user_id
    from users
    where is_bot and {{ touched('users.user_id') }}
)

select * from final
