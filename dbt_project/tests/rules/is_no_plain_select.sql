with code as (
    select
        model,
        regexp_replace(replace(lower(code), 'with ordinality', ''), 'lateral \(.*?\n\)', '', 'g') as code
    from {{ graph_code() }}
    where schema = 'staging'
),

violations as (
    select
        model,
        'leave with, distinct, group, order, limit and over to the marts' as remedy
    from code
    where code ~ '\m(with|distinct|group|order|limit|over)\M'
)

select * from {{ unexcepted('violations') }}
