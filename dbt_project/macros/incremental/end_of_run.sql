{# At the end of a run: writes down how the tests of models ended, and forgets what all marts have read. #}
{% macro end_of_run(results) -%}
    {%- if execute -%}
        {%- set rows = [] -%}
        {%- for result in results if result.node.resource_type == 'test' and result.status in ('pass', 'warn', 'fail', 'error') -%}
            {%- set tested = graph.nodes.get(result.node.attached_node or result.node.depends_on.nodes[0]) -%}
            {#- A rule of the project is no test of a mart. -#}
            {%- if tested.resource_type == 'model' -%}
                {%- do rows.append(
                    "('" ~ tested.schema ~ "/" ~ tested.name ~ "', '" ~ result.node.name ~ "', " ~ (result.status == 'pass')
                    ~ ", " ~ (result.node.config.severity | lower == 'error') ~ ", " ~ (result.failures or 0) ~ ")"
                ) -%}
            {%- endif -%}
        {%- endfor -%}
        {%- if rows %}
            insert into progress.tests (asset_key, test, passed, is_blocking, failures)
            values {{ rows | join(', ') }}
            on conflict (asset_key, test) do update set
                passed = excluded.passed, is_blocking = excluded.is_blocking, failures = excluded.failures,
                tested_at = excluded.tested_at;
        {%- endif -%}
        {#- What is no model or test of the project any more holds nothing back, and is not told of. -#}
        {%- set models = ["''"] -%}
        {%- set tests = ["''"] -%}
        {%- for node in graph.nodes.values() -%}
            {%- if node.resource_type == 'model' -%}
                {%- do models.append("'" ~ node.schema ~ '/' ~ node.name ~ "'") -%}
            {%- elif node.resource_type == 'test' -%}
                {%- do tests.append("'" ~ node.name ~ "'") -%}
            {%- endif -%}
        {%- endfor %}
        delete from progress.tests where test not in ({{ tests | join(', ') }});
        delete from progress.builds
        where
            made_by is not null and split_part(asset_key, '/', 1) in ('staging', 'intermediate', 'marts')
            and asset_key not in ({{ models | join(', ') }});
        with read_by_all as (
            select input, min(change::bigint) as change
            from progress.builds
            cross join lateral jsonb_each_text(inputs) as inputs (input, change)
            where tenant_id = '*' and made_by is not null
            group by input
        ),

        -- Not those that somebody touches again just now: waiting for them in another order than theirs is a deadlock.
        read as (
            select model, kind, tenant_id, key from progress.touched
            where change <= (
                select change from read_by_all where input in (touched.model, touched.model || '/' || touched.kind)
            ) or not exists (
                select from read_by_all where input in (touched.model, touched.model || '/' || touched.kind)
            )
            for update skip locked
        )

        delete from progress.touched using read
        where
            touched.model = read.model and touched.kind = read.kind
            and touched.tenant_id = read.tenant_id and touched.key = read.key;
        delete from progress.restatements where restated_on < (now() at time zone 'UTC')::date - 30
    {%- endif -%}
{%- endmacro %}
