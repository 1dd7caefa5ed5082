{# Writes down that a view was made, as a hook of every model; tables account for themselves. #}
{% macro account_of_view() -%}
    {%- if execute and model.config.materialized == 'view' -%}
        insert into progress.builds as b (
            tenant_id, asset_key, position, rows, seconds, code_version, run_id, built_at
        )
        values (
            '*', '{{ this.schema }}/{{ this.identifier }}', progress.up_to_position(), null,
            extract(epoch from clock_timestamp() - now()), '{{ model.checksum.checksum[:12] }}',
            coalesce(nullif(current_setting('pipelines.run_id', true), ''), 'dbt'), clock_timestamp()
        )
        on conflict (tenant_id, asset_key) do update set
            position = excluded.position, rows = excluded.rows, seconds = excluded.seconds,
            code_version = excluded.code_version, run_id = excluded.run_id, built_at = excluded.built_at
    {%- endif -%}
{%- endmacro %}
