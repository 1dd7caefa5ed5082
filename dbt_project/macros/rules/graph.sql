{# What dbt knows of the project, as tables for the rules in tests/rules. While dbt parses there is none of it yet, and
   the tables are empty. #}


{# All models. `yaml` is the file that describes one, beside `path`, that of its SQL. `key`, `indexes` and the like are
   as the model's config has them. #}
{% macro graph_models() -%}
    {%- set rows = [] -%}
    {%- for node in (graph.nodes or {}).values() if node.resource_type == 'model' -%}
        {%- do rows.append({
            'name': node.name,
            'schema': node.schema,
            'path': node.original_file_path,
            'yaml': (node.patch_path or '').split('://') | last,
            'description': node.description,
            'owner': node.config.meta.get('owner'),
            'materialized': node.config.materialized,
            'has_contract': node.config.contract.enforced,
            'macros': node.depends_on.macros,
            'key': node.config.get('key'),
            'recompute': node.config.get('recompute'),
            'indexes': node.config.get('indexes'),
        }) -%}
    {%- endfor -%}
    {{ graph_table(rows, '
        name text, schema text, path text, yaml text, description text, owner text, materialized text,
        has_contract boolean, macros jsonb, key jsonb, recompute text, indexes jsonb
    ') }}
{%- endmacro %}


{# The SQL of all models, as it was written. #}
{% macro graph_code() -%}
    {%- set rows = [] -%}
    {%- for node in (graph.nodes or {}).values() if node.resource_type == 'model' -%}
        {%- do rows.append({'model': node.name, 'schema': node.schema, 'code': node.raw_code}) -%}
    {%- endfor -%}
    {{ graph_table(rows, 'model text, schema text, code text') }}
{%- endmacro %}


{# The columns of all models, in their order. #}
{% macro graph_columns() -%}
    {%- set rows = [] -%}
    {%- for node in (graph.nodes or {}).values() if node.resource_type == 'model' -%}
        {%- for column in node.columns.values() -%}
            {%- do rows.append({
                'model': node.name,
                'position': loop.index,
                'name': column.name,
                'data_type': column.data_type,
                'description': column.description,
                'is_never_null': 'not_null' in column.constraints | map(attribute='type'),
            }) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ graph_table(rows, '
        model text, position integer, name text, data_type text, description text, is_never_null boolean
    ') }}
{%- endmacro %}


{# What models read themselves. Of the log a row for each event type that the model gives to events(). #}
{% macro graph_reads() -%}
    {%- set rows = [] -%}
    {%- for node in (graph.nodes or {}).values() if node.resource_type == 'model' -%}
        {%- for id in node.depends_on.nodes -%}
            {%- set read = graph.nodes.get(id) or graph.sources[id] -%}
            {%- set is_log = read.resource_type == 'source' and read.schema == 'event_log' -%}
            {%- for event_type in (is_log and node.config.meta.get('events')) or [none] -%}
                {%- do rows.append({
                    'model': node.name,
                    'name': read.name,
                    'relation': read.schema ~ '.' ~ read.name,
                    'event_type': event_type,
                    'is_source': read.resource_type == 'source',
                    'is_view': read.config.materialized == 'view',
                }) -%}
            {%- endfor -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ graph_table(rows, '
        model text, name text, relation text, event_type text, is_source boolean, is_view boolean
    ') }}
{%- endmacro %}


{# The tables and sources that models read, themselves or behind views. #}
{% macro graph_inputs() -%}
    (
        with recursive reads as (
            select * from {{ graph_reads() }}
        ),

        inputs as (
            select * from reads
            union
            select
                inputs.model,
                reads.name,
                reads.relation,
                reads.event_type,
                reads.is_source,
                reads.is_view
            from inputs
            inner join reads on inputs.name = reads.model
            where inputs.is_view
        )

        select * from inputs where not is_view
    ) as inputs
{%- endmacro %}


{# What tables name in `touched_by`, a row for each kind of key. #}
{% macro graph_touched_by() -%}
    {%- set rows = [] -%}
    {%- for node in (graph.nodes or {}).values() if node.resource_type == 'model' -%}
        {%- for relation, kinds in (node.config.get('touched_by') or {}).items() -%}
            {%- for kind in ([kinds] if kinds is string else kinds) -%}
                {%- do rows.append({'model': node.name, 'relation': relation, 'kind': kind}) -%}
            {%- endfor -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ graph_table(rows, 'model text, relation text, kind text') }}
{%- endmacro %}


{# All tests of data; `model` is null for those that are a query of their own. #}
{% macro graph_tests() -%}
    {%- set rows = [] -%}
    {%- for node in (graph.nodes or {}).values() if node.resource_type == 'test' -%}
        {%- do rows.append({
            'name': node.name,
            'model': (graph.nodes.get(node.get('attached_node')) or {}).get('name'),
            'path': node.original_file_path,
            'description': node.description,
            'severity': node.config.severity | lower,
        }) -%}
    {%- endfor -%}
    {{ graph_table(rows, 'name text, model text, path text, description text, severity text') }}
{%- endmacro %}


{# Jinja's filter writes a quote as \u0027, so that the text needs no other care. #}
{% macro graph_table(rows, columns) -%}
    jsonb_to_recordset('{{ rows | tojson }}') as graph_rows ({{ columns }})
{%- endmacro %}
