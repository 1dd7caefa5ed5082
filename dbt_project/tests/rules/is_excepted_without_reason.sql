with exceptions as (
    select * from {{ ref('rule_exceptions') }}
),

tests as (
    select * from {{ graph_tests() }}
),

violations as (
    select
        exceptions.model,
        format('%s: name a rule and the reason in rule_exceptions', exceptions.rule) as remedy
    from exceptions
    left join tests
        on
            exceptions.rule = tests.name
            and tests.path like 'tests/rules/%'
    where tests.name is null or coalesce(exceptions.reason, '') = ''
)

select * from {{ unexcepted('violations') }}
