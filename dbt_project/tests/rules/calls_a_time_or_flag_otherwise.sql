with columns as (
    select * from {{ graph_columns() }}
),

violations as (
    select
        model,
        format('%s: call a moment _at and say UTC, a day _on, a boolean is_ or has_', name) as remedy
    from columns
    where
        (
            data_type = 'timestamptz'
            and (name !~ '_at$|^as_of$|^watermark$' or description not like '%UTC%')
        )
        or (data_type = 'date') <> (name like '%\_on')
        or (data_type = 'boolean') <> (name ~ '^(is|has)_')
)

select * from {{ unexcepted('violations') }}
