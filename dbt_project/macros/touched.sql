{# The condition that a row is of the keys or days that are made anew; every row is when the mart is made whole.
   What it says of a whole build stands in the compiled SQL; `as_incremental` puts in the other.

   column: what is compared with the model's `recompute` column, as orders.order_id.
   tenant_id: the tenant column beside it; that of the same relation unless given. #}
{% macro touched(column, tenant_id=none) -%}
    {%- set same_relation = column.split('.')[:-1] + ['tenant_id'] -%}
    true /* touched: {{ tenant_id or same_relation | join('.') }}, {{ column }} */
{%- endmacro %}


{# The rows of a staging view of events, of the days that are made anew. The model's `recompute` is the UTC day of
   the events; in a join, give it an alias.

   relation: the staging view, which shows `tenant_id` and the moment as plain columns of the log.
   moment: its column of the moment.
   days_around: also the events of so many days before and after each of these days. #}
{% macro events_of_days(relation, moment='occurred_at', days_around=0) -%}
    {{ relation }} /* events of days: {{ moment }}, {{ days_around }} */
{%- endmacro %}


{# The SQL of a model for the keys in the temporary table `touched` alone. #}
{% macro as_incremental(sql) -%}
    {%- set day = config.require('recompute') -%}
    {#- Through the index on the moment: the days of late events lie far apart, and between them much is not read. -#}
    {%- set events -%}
        (
            select events.*
            from (
                select distinct
                    touched.tenant_id,
                    touched.{{ day }} + around.number as {{ day }}
                from touched
                cross join generate_series(-\3, \3) as around (number)
            ) as days
            cross join lateral (
                select * from \1 as events
                where
                    events.tenant_id = days.tenant_id
                    and events.\2 >= days.{{ day }}::timestamp at time zone 'UTC'
                    and events.\2 < (days.{{ day }} + 1)::timestamp at time zone 'UTC'
                    {# For many days at once: two ranges cannot be hashed. -#}
                    and {{ utc_date('events.\\2') }} = days.{{ day }}
            ) as events
        )
    {%- endset -%}
    {%- set keys = '(\\1, \\2) in (select touched.tenant_id, touched.' ~ day ~ ' from touched)' -%}
    {%- if day == 'tenant_id' -%}
        {%- set keys = '\\1 in (select touched.tenant_id from touched)' -%}
    {%- endif -%}
    {%- set sql = modules.re.sub('(\\S+) /\* events of days: (\\S+), (\\d+) \*/', events, sql) -%}
    {{ modules.re.sub('true /\* touched: (\\S+), (\\S+) \*/', keys, sql) }}
{%- endmacro %}
