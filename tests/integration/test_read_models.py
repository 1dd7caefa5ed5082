"""Read models give the same rows however the events arrive."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from analytics_pipelines import progress
from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import EventStore, NewEvent
from analytics_pipelines.ingestion.simulator import simulate
from analytics_pipelines.read_models import comparison, projector, sql
from analytics_pipelines.read_models.as_of import as_of
from analytics_pipelines.read_models.columns import ORDER, Derived, Fold, count
from analytics_pipelines.read_models.models import READ_MODELS
from analytics_pipelines.read_models.rebuild import rebuild

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.read_models.declaration import ReadModel

NOON = datetime(2017, 6, 1, 12, tzinfo=UTC)
LEAD_ANALYTICS = READ_MODELS["lead_analytics"]
CAMPAIGN_PERFORMANCE = READ_MODELS["campaign_performance"]
ORDER_STATE = READ_MODELS["order_state"]


def advance(pool: ConnectionPool, model: ReadModel) -> int:
    up_to = EventStore(pool).settled_position()
    with pool.connection() as connection:
        return projector.advance(connection, [model], up_to)[model.name].touched


def rows(pool: ConnectionPool, model: ReadModel) -> list[tuple[Any, ...]]:
    with pool.connection() as connection:
        return connection.execute(
            f"select * from read_models.{model.name} order by tenant_id, {', '.join(model.key)}"
        ).fetchall()


def columns(pool: ConnectionPool) -> set[str]:
    """The columns of the public view of the leads."""
    with pool.connection() as connection:
        return {
            column.name for column in connection.execute("select * from read_models.lead_analytics").description or ()
        }


def order_event(number: int, kind: str, minute: int, **data: object) -> NewEvent:
    moment = NOON + timedelta(minutes=minute)
    return NewEvent(
        "test", f"{number}-{kind}-{minute}", f"order-{number}", kind, moment, {"order_id": str(number), **data}
    )


def placed(number: int, minute: int = 0, channel: str = "online", revenue: str = "9.90") -> NewEvent:
    lines = [
        {"product_id": "p", "quantity": 2, "revenue": Decimal(revenue)},
        {"product_id": "q", "quantity": 1, "revenue": 1},
    ]
    return order_event(number, "order_placed", minute, customer_id="c", channel=channel, currency="EUR", lines=lines)


def test_order_states_follow_from_what_happened(database: ConnectionPool) -> None:
    """Pending, processing, completed and cancelled, whatever came first; a store order is complete at once."""
    story = [
        placed(1),
        placed(2), order_event(2, "order_paid", 5, amount=10),
        placed(3), order_event(3, "order_paid", 5, amount=10), order_event(3, "order_shipped", 9),
        order_event(3, "order_delivered", 20), order_event(3, "order_refunded", 30, amount=Decimal("2.50")),
        placed(4), order_event(4, "order_cancelled", 7, reason="changed my mind"),
        placed(5, channel="store"),
    ]  # fmt: skip
    EventStore(database).append_batch("shop", reversed(story))
    advance(database, ORDER_STATE)
    with database.connection() as connection:
        found = connection.execute(
            "select order_id, status, quantity, revenue, refunded_amount, paid_at from read_models.order_state"
        ).fetchall()
    found.sort()
    assert [(row[0], row[1]) for row in found] == [
        ("1", "pending"), ("2", "processing"), ("3", "completed"), ("4", "cancelled"), ("5", "completed")
    ]  # fmt: skip
    assert found[2][2:5] == (3, Decimal("10.90"), Decimal("2.50"))
    assert found[1][5] == NOON + timedelta(minutes=5)


def test_the_last_value_is_last_by_event_time_not_by_arrival(database: ConnectionPool) -> None:
    """A late event that happened earlier does not overwrite what happened later."""
    store = EventStore(database)
    store.append_batch("shop", [placed(1, minute=10, revenue="20.00")])
    advance(database, ORDER_STATE)
    store.append_batch("shop", [placed(1, minute=5, revenue="5.00")])
    advance(database, ORDER_STATE)
    with database.connection() as connection:
        found = connection.execute("select revenue, placed_at from read_models.order_state").fetchone()
    assert found == (Decimal("21.00"), NOON + timedelta(minutes=5))


def test_rows_and_checkpoint_commit_together(database: ConnectionPool) -> None:
    """A crash after the fold and before the commit leaves neither: the next run counts nothing twice."""
    store = EventStore(database)
    store.append_batch("saas", simulate(500, 1))
    advance(database, LEAD_ANALYTICS)
    before = rows(database, LEAD_ANALYTICS)
    store.append_batch("more", simulate(500, 1))
    with database.connection() as connection:
        assert projector.advance(connection, [LEAD_ANALYTICS], store.settled_position())["lead_analytics"].touched > 0
        connection.rollback()
    assert rows(database, LEAD_ANALYTICS) == before
    advance(database, LEAD_ANALYTICS)
    assert advance(database, LEAD_ANALYTICS) == 0
    assert [row[1:] for row in rows(database, LEAD_ANALYTICS) if row[0] == "more"] == [row[1:] for row in before]


def test_a_wrong_value_is_found_and_named(database: ConnectionPool) -> None:
    """The comparison of live rows with a replay names the key whose row was changed behind its back."""
    EventStore(database).append_batch("saas", simulate(2_000, 1))
    advance(database, CAMPAIGN_PERFORMANCE)
    table = sql.table(CAMPAIGN_PERFORMANCE)
    with database.connection() as connection:
        key = connection.execute(f"select campaign_id from {table} order by 1 limit 1").fetchone()
        assert key is not None
        connection.execute(f"update {table} set _emails_sent = _emails_sent + 1 where campaign_id = %s", key)
        found = comparison.differences(connection, CAMPAIGN_PERFORMANCE)
        assert found.keys > 1
        assert found.differing == [f"saas/{key[0]}"]
        connection.execute(f"delete from {table} where campaign_id = %s", key)
        assert comparison.differences(connection, CAMPAIGN_PERFORMANCE) == found


def test_a_changed_declaration_gets_a_table_of_its_own(database: ConnectionPool) -> None:
    """The public view shows the new columns, folded from zero, after a rebuild."""
    EventStore(database).append_batch("saas", simulate(2_000, 1))
    advance(database, LEAD_ANALYTICS)
    more = count("introductions", "Introductions made", "introduction_made")
    changed = replace(LEAD_ANALYTICS, columns=(*LEAD_ANALYTICS.columns, more))
    assert sql.version(changed) != sql.version(LEAD_ANALYTICS)
    advance(database, changed)
    assert "introductions" not in columns(database)  # what is served goes on until the new one is built
    settled = EventStore(database).settled_position()
    rebuild(database, changed, settled)
    assert "introductions" in columns(database)
    # Going back finds the former table, and brings it up to date.
    EventStore(database).append_batch("late", simulate(500, 1))
    rebuild(database, LEAD_ANALYTICS, EventStore(database).settled_position())
    assert "introductions" not in columns(database)
    with database.connection() as connection:
        assert comparison.differences(connection, LEAD_ANALYTICS).differing == []
    rebuild(database, changed, EventStore(database).settled_position())
    with database.connection() as connection:
        differ = "count(*) filter (where introductions <> introductions_made)"
        found = connection.execute(f"select count(*), {differ} from read_models.lead_analytics").fetchone()
    assert found is not None
    assert found[0] > 0
    assert found[1] == 0


def test_changed_words_reach_the_database_without_a_fold(database: ConnectionPool) -> None:
    """A better description needs no new table: the comments are those of the declaration after the next advance."""
    EventStore(database).append_batch("saas", simulate(500, 1))
    advance(database, LEAD_ANALYTICS)
    reworded = replace(LEAD_ANALYTICS, grain="One row per lead.")
    assert sql.table(reworded) == sql.table(LEAD_ANALYTICS)
    assert advance(database, reworded) == 0
    with database.connection() as connection:
        found = connection.execute("select obj_description('read_models.lead_analytics'::regclass)").fetchone()
    assert found == ("One row per lead.",)


def test_an_empty_log_makes_empty_models(database: ConnectionPool) -> None:
    """Before the first event every model exists, with its columns and without rows."""
    for model in READ_MODELS.values():
        assert advance(database, model) == 0
        assert rows(database, model) == []


def test_columns_are_described_in_the_database(database: ConnectionPool) -> None:
    """Whoever opens the view in psql reads its grain and the meaning of every column."""
    EventStore(database).append_batch("saas", simulate(100, 1))
    for model in READ_MODELS.values():
        advance(database, model)
    with database.connection() as connection:
        missing = connection.execute(
            "select c.relname, a.attname from pg_class c join pg_attribute a on a.attrelid = c.oid "
            "where c.relnamespace = 'read_models'::regnamespace and c.relkind = 'v' and a.attnum > 0 "
            "and (col_description(c.oid, a.attnum) is null or obj_description(c.oid) is null)"
        ).fetchall()
    assert missing == []


def test_a_run_builds_to_one_position(database: ConnectionPool, store: EventStore) -> None:
    """The position pinned for a run stays, whatever is appended meanwhile; watermarks belong to it."""
    store.append_batch("shop", [placed(1)])
    pinned = progress.pin(database, "run")
    store.append_batch("shop", [placed(2, minute=60)])
    assert progress.pin(database, "run") == pinned
    assert progress.pin(database, "next") > pinned
    with database.connection() as connection:
        progress.set_position(connection, pinned)
        assert connection.execute("select progress.watermark('shop')").fetchone() == (NOON,)
        connection.commit()
        assert connection.execute("select progress.watermark('shop')").fetchone() == (NOON + timedelta(hours=1),)


def test_a_field_that_no_schema_has_looked_at_breaks_no_row(database: ConnectionPool) -> None:
    """A lost deal may carry an amount of any kind, which is not what it brought."""
    lost = {"deal_id": "1", "lead_id": "1", "reason": "price", "amount": [1], "currency": "none"}
    EventStore(database).append_batch("saas", [NewEvent("test", "1", "deal-1", "deal_lost", NOON, lost)])
    advance(database, READ_MODELS["deal_state"])
    with database.connection() as connection:
        found = connection.execute("select won_amount, won_currency from read_models.deal_state").fetchall()
    assert found == [(None, None)]


def test_names_that_are_taken_are_refused() -> None:
    """A column that would share its state with another, or with the bookkeeping, is refused by name."""
    for name in ("emails_sent", "lead_id", "streams", "last_position", "day"):
        twice = (*LEAD_ANALYTICS.columns, count(name, "Twice", "email_sent"))
        with pytest.raises(PipelinesError, match=f"the name {name} is taken"):
            replace(LEAD_ANALYTICS, columns=twice)
    with pytest.raises(PipelinesError, match="at most 46 characters"):
        replace(LEAD_ANALYTICS, name="x" * 47)


def test_the_way_out_folds_what_no_other_kind_does(database: ConnectionPool) -> None:
    """Any aggregate can be folded, in the order of events, and derived columns may hold a percent sign."""
    path = Fold(
        "path", "text", "Types", ("order_placed", "order_paid"), f"string_agg(event_type, ' ' order by {ORDER})"
    )
    odd = Derived("is_odd", "boolean", "Whether it has an odd number of lines", "lines % 2 = 1")
    model = replace(ORDER_STATE, columns=(*ORDER_STATE.columns, path, odd))
    EventStore(database).append_batch("shop", [order_event(1, "order_paid", 5, amount=10)])
    advance(database, model)
    EventStore(database).append_batch("shop", [placed(1)])
    advance(database, model)
    with database.connection() as connection:
        found = connection.execute("select path, is_odd from read_models.order_state").fetchall()
        assert found == [("order_placed order_paid", False)]
        assert connection.execute("select path, is_odd from read_models.order_state_as_of()").fetchall() == found
        row = as_of(connection, model, "shop", ["1"], NOON).row
    assert row is not None
    assert (row["path"], row["is_odd"]) == ("order_placed", False)
