-- Most of what is counted is small: an agent's executions of an hour, the one user of a workspace's day. A query for each of
-- them takes 15 to 60 us, most of it to begin; plain statements take 2. Of 100,000 new events agents' figures took 1.1 s of
-- CPU to fold, and take 0.45 s without. What comes out is the same.
set local role pipelines_runtime;

create or replace function read_models.tally_of(seen text[]) returns jsonb
language plpgsql immutable parallel safe strict as $$
begin
    if cardinality(seen) = 1 then
        return case when seen[1] is not null then jsonb_build_object(seen[1], 1) end;
    end if;
    return (
        select jsonb_object_agg(value, times)
        from (select value, count(*) as times from unnest(seen) as value where value is not null group by value) as counted
    );
end
$$;

-- Only what is added is looked at: `one`, the state, may have thousands of values.
create or replace function read_models.add_tallies(one jsonb, other jsonb) returns jsonb
language plpgsql immutable parallel safe strict as $$
begin
    if other = '{}' then
        return one;
    elsif one = '{}' then
        return other;
    end if;
    return one || (
        select jsonb_object_agg(key, value::bigint + coalesce((one ->> key)::bigint, 0)) from jsonb_each_text(other)
    );
end
$$;

-- All at once: as an aggregate that adds one after the other, a hundred thousand of them took 5 s.
create or replace function read_models.sum_tallies(tallies jsonb[]) returns jsonb
language plpgsql immutable parallel safe strict as $$
begin
    tallies := array_remove(tallies, '{}');
    if cardinality(tallies) <= 1 then
        return coalesce(tallies[1], '{}');
    end if;
    return (
        select jsonb_object_agg(key, times)
        from (
            select key, sum(value::bigint) as times
            from unnest(tallies) as tally cross join lateral jsonb_each_text(tally)
            group by key
        ) as added
    );
end
$$;

create or replace function read_models.histogram_of(seen integer[], bins integer) returns bigint[]
language plpgsql immutable parallel safe strict as $$
declare
    times bigint[] := array_fill(0::bigint, array[bins + 1]);
    bin integer;
begin
    foreach bin in array seen loop
        if bin is not null then
            times[bin + 1] := times[bin + 1] + 1;
        end if;
    end loop;
    return times;
end
$$;

create or replace function read_models.add_histograms(one bigint[], other bigint[]) returns bigint[]
language plpgsql immutable parallel safe strict as $$
begin
    for bin in 1 .. cardinality(one) loop
        one[bin] := one[bin] + other[bin];
    end loop;
    return one;
end
$$;

create or replace function read_models.sum_histograms(histograms bigint[][]) returns bigint[]
language plpgsql immutable parallel safe strict as $$
declare
    bins integer := array_length(histograms, 2);
    times bigint[] := array_fill(0::bigint, array[bins]);
    bin integer := 0;
    value bigint;
begin
    foreach value in array histograms loop
        bin := bin % bins + 1;
        times[bin] := times[bin] + value;
    end loop;
    return times;
end
$$;
