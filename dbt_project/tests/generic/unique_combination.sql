{# Fails unless a unique index forbids that a key stands in two rows. It is made with the table, so that nothing need be
   counted, however large the table is. #}
{% test unique_combination(model, columns) %}
    select '{{ columns | join(", ") }}' as not_held_unique
    where not exists (
        select
        from pg_index
        where
            pg_index.indrelid = '{{ model }}'::regclass
            and pg_index.indisunique
            and pg_index.indisvalid
            and pg_index.indpred is null
            and (
                select array_agg(pg_attribute.attname::text order by pg_attribute.attname)
                from pg_attribute
                where pg_attribute.attrelid = pg_index.indrelid and pg_attribute.attnum = any(pg_index.indkey)
            ) = array['{{ columns | sort | join("', '") }}']
    )
{% endtest %}
