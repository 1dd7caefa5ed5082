-- Which streams the events of a key lie in: sorted, each once, so that whatever order they came in makes the same value;
-- null where they are more than are kept. Functions, as a subquery would keep the fold from running in parallel.
set local role pipelines_runtime;

create function read_models.streams(names text[], most integer) returns text[]
language plpgsql immutable parallel safe strict as $$
begin
    if cardinality(names) = 1 then
        return names;
    end if;
    return (
        select case when count(*) <= most then array_agg(name order by name collate "C") end
        from (select distinct unnest(names)) as streams (name)
    );
end
$$;

create function read_models.add_streams(one text[], other text[], most integer) returns text[]
language plpgsql immutable parallel safe strict as $$
begin
    if other <@ one then
        return one;
    end if;
    return read_models.streams(one || other, most);
end
$$;
