{# The events of these types, up to the position that this run builds to. Only staging models call this. #}
{% macro events(event_types) -%}
    {# Told to the platform: a new event of another type does not make the model stale. #}
    {{ config(meta={'events': event_types}) -}}
    select
        tenant_id,
        source,
        event_id,
        event_type,
        sequence,
        occurred_at,
        data
    from {{ source('event_log', 'events') }}
    where
        event_type in ('{{ event_types | join("', '") }}')
        -- A subquery, so that it is computed once and not for each event.
        and position <= (select progress.up_to_position())
{%- endmacro %}
