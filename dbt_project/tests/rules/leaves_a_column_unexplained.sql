with columns as (
    select * from {{ graph_columns() }}
),

violations as (
    select
        model,
        format('%s: give it a description and a data_type', name) as remedy
    from columns
    where coalesce(description, '') = '' or coalesce(data_type, '') = ''
)

select * from {{ unexcepted('violations') }}
