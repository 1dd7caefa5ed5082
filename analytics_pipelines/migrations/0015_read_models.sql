-- What read models are folded with. Every function here is plain arithmetic on its arguments: no table is read.
set local role pipelines_runtime;

-- An event where the order matters: by these columns, in this order, wherever "first" or "last" is meant. Position decides
-- no value. Collated bytewise, so that every server breaks ties alike. `data` never decides: the identity before it does.
create type read_models.ordered_event as (
    occurred_at timestamptz,
    sequence bigint,
    event_id text collate "C",
    source text collate "C",
    data jsonb
);

-- How often each value came: {"value": count}. One state for distinct counts, sets and the most frequent values.
create function read_models.tally(seen text[]) returns jsonb
language sql immutable parallel safe as $$
    select coalesce(jsonb_object_agg(value, times), '{}')
    from (select value, count(*) as times from unnest(seen) as value where value is not null group by value) as counted
$$;

create function read_models.add_tallies(one jsonb, other jsonb) returns jsonb
language sql immutable parallel safe strict as $$
    select case
        when other = '{}' then one
        when one = '{}' then other
        else (
            select jsonb_object_agg(key, times)
            from (
                select key, sum(value::bigint) as times
                from (select * from jsonb_each_text(one) union all select * from jsonb_each_text(other)) as both_of_them
                group by key
            ) as added
        )
    end
$$;

-- All at once: as an aggregate that adds one after the other, a hundred thousand of them took 5 s.
create function read_models.sum_tallies(tallies jsonb[]) returns jsonb
language sql immutable parallel safe strict as $$
    select coalesce(jsonb_object_agg(key, times), '{}')
    from (
        select key, sum(value::bigint) as times
        from unnest(tallies) as tally cross join lateral jsonb_each_text(tally)
        group by key
    ) as added
$$;

create function read_models.tallied(tally jsonb) returns text[]
language sql immutable parallel safe strict as $$
    select coalesce(array_agg(value order by value collate "C"), '{}') from jsonb_object_keys(tally) as value
$$;

create function read_models.tally_size(tally jsonb) returns bigint
language sql immutable parallel safe strict as $$
    select count(*) from jsonb_object_keys(tally)
$$;

-- The most frequent values, the first of the alphabet where two came equally often.
create function read_models.top(tally jsonb, places integer) returns text[]
language sql immutable parallel safe strict as $$
    select coalesce(array_agg(key order by times desc, key collate "C"), '{}')
    from (
        select key, value::bigint as times from jsonb_each_text(tally)
        order by value::bigint desc, key collate "C" limit places
    ) as best
$$;

-- The sum of a field over the items of a list, such as the lines of an order; null where none has it. A loop, as a query
-- in its place would cost more and keep the fold that calls it from running in parallel.
create function read_models.sum_of(items jsonb, field text) returns numeric
language plpgsql immutable parallel safe strict as $$
declare
    total numeric;
    value numeric;
begin
    for place in 0 .. jsonb_array_length(items) - 1 loop
        value := items -> place ->> field;
        total := coalesce(total + value, total, value);
    end loop;
    return total;
end
$$;

-- How many values fell into each of `bins` + 1 bins, given the bin of each, from 0 on.
create function read_models.histogram(seen integer[], bins integer) returns bigint[]
language sql immutable parallel safe as $$
    select array_agg(coalesce(times, 0) order by bin)
    from generate_series(0, bins) as bin
    left join (select value, count(*) as times from unnest(seen) as value group by value) as counted on value = bin
$$;

create function read_models.add_histograms(one bigint[], other bigint[]) returns bigint[]
language sql immutable parallel safe strict as $$
    select array_agg(a + b order by bin) from unnest(one, other) with ordinality as pairs (a, b, bin)
$$;

create function read_models.sum_histograms(histograms bigint[][]) returns bigint[]
language sql immutable parallel safe strict as $$
    select array_agg(times order by bin)
    from (
        select (place - 1) % array_length(histograms, 2) as bin, sum(value)::bigint as times
        from unnest(histograms) with ordinality as bins (value, place)
        group by 1
    ) as added
$$;

-- The upper bound of the bin that the share-th of all values falls into; the lower bound of the last bin, which has none.
create function read_models.histogram_percentile(histogram bigint[], bounds numeric[], share numeric) returns numeric
language sql immutable parallel safe strict as $$
    select bounds[least(bin, cardinality(bounds))]
    from (
        select bin, sum(times) over (order by bin) as up_to, sum(times) over () as total
        from unnest(histogram) with ordinality as bins (times, bin)
    ) as summed
    where total > 0 and up_to >= share * total
    order by bin
    limit 1
$$;

-- Where a state machine stands after a sequence of events.
create type read_models.machine_run as (
    state smallint,       -- the number of the state, from 1 on; 0 before the first
    since timestamptz,    -- event time at which it was entered (UTC)
    seconds numeric[],    -- by state: how long it was in states that it has left, in seconds
    invalid bigint        -- events that the state they came in does not allow; they change nothing
);

-- `targets` is a matrix, a row for each state from 0 on, a column for each kind of event from 1 on: the state entered, or 0
-- where the event is not allowed. An event without a kind is none of the machine's.
create function read_models.run_machine(
    events smallint[], moments timestamptz[], targets smallint[], kinds integer, states integer
) returns read_models.machine_run
language plpgsql immutable parallel safe as $$
declare
    state smallint := 0;
    since timestamptz;
    seconds numeric[] := array_fill(0::numeric, array[states]);
    invalid bigint := 0;
    target smallint;
begin
    for event in 1 .. coalesce(cardinality(events), 0) loop
        target := targets[state * kinds + events[event]];
        if target is null then
            continue;
        elsif target = 0 then
            invalid := invalid + 1;
        else
            if state > 0 then
                seconds[state] := seconds[state] + extract(epoch from moments[event] - since);
            end if;
            state := target;
            since := moments[event];
        end if;
    end loop;
    return (state, since, seconds, invalid);
end
$$;

comment on type read_models.ordered_event is 'An event in the order that decides what is first and last';
comment on type read_models.machine_run is 'Where a state machine stands: state, since when (UTC), seconds by state left, events not allowed';
comment on function read_models.tally(text[]) is 'How often each value came, as {"value": count}';
comment on function read_models.add_tallies(jsonb, jsonb) is 'Two tallies as one';
comment on function read_models.sum_tallies(jsonb[]) is 'Any number of tallies as one';
comment on function read_models.tallied(jsonb) is 'The values of a tally, in the order of their bytes';
comment on function read_models.tally_size(jsonb) is 'How many distinct values a tally has';
comment on function read_models.top(jsonb, integer) is 'The most frequent values of a tally, most frequent first';
comment on function read_models.sum_of(jsonb, text) is 'The sum of a field over the items of a list';
comment on function read_models.histogram(integer[], integer) is 'How many values fell into each bin';
comment on function read_models.add_histograms(bigint[], bigint[]) is 'Two histograms of the same bins as one';
comment on function read_models.sum_histograms(bigint[]) is 'Any number of histograms of the same bins as one';
comment on function read_models.histogram_percentile(bigint[], numeric[], numeric) is 'The upper bound of the bin that this share of the values falls into';
comment on function read_models.run_machine(smallint[], timestamptz[], smallint[], integer, integer) is 'Where a state machine stands after these events';
