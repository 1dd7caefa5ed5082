"""A declaration that cannot be folded is named, with the column where that can be told, and keeps nobody else back."""

from __future__ import annotations

import random
import string
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import EventStore, NewEvent
from analytics_pipelines.read_models import projector, sql
from analytics_pipelines.read_models.columns import Derived, count, last, total
from analytics_pipelines.read_models.models import READ_MODELS
from analytics_pipelines.read_models.rebuild import rebuild

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.read_models.declaration import ReadModel

LEADS = READ_MODELS["lead_analytics"]
CAMPAIGNS = READ_MODELS["campaign_performance"]
# Any subject is valid, and only some are a number.
BRITTLE = replace(
    LEADS,
    columns=(*LEADS.columns, total("numbers", "Numbers", "email_sent", value="(data ->> 'subject')::numeric")),
)


def append(pool: ConnectionPool, number: int, subject: str) -> int:
    """Append an e-mail with a subject; return the position it is settled at."""
    data = {"campaign_id": "7", "lead_id": "42", "message_id": str(number), "subject": subject}
    event = NewEvent("test", str(number), "campaign-7", "email_sent", datetime(2017, 6, 1, tzinfo=UTC), data)
    assert EventStore(pool).append_batch("one", [event]).accepted == 1
    return EventStore(pool).settled_position()


def advance(pool: ConnectionPool, up_to: int, *models: ReadModel) -> dict[str, str]:
    """Advance the models; return why some could not be."""
    failed: dict[str, str] = {}
    with pool.connection() as connection:
        projector.advance(connection, models, up_to, failed)
    return failed


def sent(pool: ConnectionPool, model: ReadModel) -> int | None:
    with pool.connection() as connection:
        row = connection.execute(f"select sum(emails_sent)::bigint from read_models.{model.name}").fetchone()
        assert row is not None
        return row[0]


def checkpoints(pool: ConnectionPool) -> dict[str, int]:
    with pool.connection() as connection:
        return dict(connection.execute("select reader, position from progress.checkpoints").fetchall())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (
            replace(LEADS, columns=(*LEADS.columns, count("odd", "Odd", "email_sent", where="nosuch = 1"))),
            'the column odd is not understood: column "nosuch" does not exist',
        ),
        (
            replace(LEADS, columns=(total("odd", "Odd", "email_sent", value="'x'::numeric"), *LEADS.columns)),
            'the column odd is not understood: invalid input syntax for type numeric: "x"',
        ),
        (
            replace(LEADS, columns=(Derived("odd", "bigint", "Odd", "emails_sent + nosuch"), *LEADS.columns)),
            'the column odd is not understood: column "nosuch" does not exist',
        ),
        (
            replace(LEADS, keys={"email_sent": ("data -> > 'lead_id'",)}),
            'its key is not understood: syntax error at or near ">"',
        ),
        (
            replace(
                LEADS,
                columns=(*LEADS.columns, last("odd", "jsonb", "Odd", "email_sent", value="jsonb_array_elements(data)")),
            ),
            "the column odd is not understood: aggregate function calls cannot contain set-returning function calls",
        ),
    ],
    ids=["where", "value", "derived", "key", "not supported"],
)
def test_what_postgres_does_not_understand_is_named_by_file_and_column(
    database: ConnectionPool, wrong: ReadModel, says: str
) -> None:
    """Whether the model is new or was served before; what was served is served on, and no checkpoint waits for it."""
    up_to = append(database, 1, "1")
    [why] = advance(database, up_to, wrong, CAMPAIGNS).values()
    assert why == f"read_models/models/lead_analytics.py: {says}; correct it"
    assert sent(database, CAMPAIGNS) == 1
    assert set(checkpoints(database)) == {sql.table(CAMPAIGNS)}
    assert advance(database, up_to, LEADS) == {}
    with pytest.raises(PipelinesError, match=r"^read_models/models/lead_analytics\.py: .* is not understood: "):
        rebuild(database, wrong, up_to)
    assert sent(database, LEADS) == 1


def test_an_event_that_one_model_cannot_fold_keeps_no_other_back(database: ConnectionPool) -> None:
    """The others come to the position; that one stays where it was, is named, and goes on once it is corrected."""
    before = append(database, 1, "1")
    assert advance(database, before, BRITTLE, CAMPAIGNS) == {}
    after = append(database, 2, "hello")
    for _ in range(2):
        failed = advance(database, after, BRITTLE, CAMPAIGNS)
        assert list(failed) == [LEADS.name]
        assert failed[LEADS.name].startswith("read_models/models/lead_analytics.py: it cannot be folded: invalid")
        assert checkpoints(database) == {sql.table(BRITTLE): before, sql.table(CAMPAIGNS): after}
        assert (sent(database, BRITTLE), sent(database, CAMPAIGNS)) == (1, 2)
    rebuild(database, LEADS, after)
    assert advance(database, after, LEADS, CAMPAIGNS) == {}
    assert sent(database, LEADS) == 2


def test_a_key_that_is_too_long_for_an_index_keeps_no_other_back(database: ConnectionPool) -> None:
    """What Postgres refuses for its length is named like what it cannot read."""
    keyed = replace(LEADS, keys={**LEADS.keys, "email_sent": ("data['subject']::text",)})
    up_to = append(database, 1, "".join(random.Random(1).choices(string.ascii_letters + string.digits, k=20_000)))
    [failed] = advance(database, up_to, keyed, CAMPAIGNS).values()
    assert failed.startswith("read_models/models/lead_analytics.py: it cannot be folded: index row ")
    assert sent(database, CAMPAIGNS) == 1


def test_braces_in_an_expression_are_those_of_sql(database: ConnectionPool) -> None:
    """A path to a field is an expression like any other."""
    up_to = append(database, 1, "12.5")
    braced = total("odd", "Odd", "email_sent", value="(data #>> '{subject}')::numeric", where="data #>> '{0}' is null")
    assert advance(database, up_to, replace(LEADS, columns=(*LEADS.columns, braced))) == {}
    with database.connection() as connection:
        assert connection.execute("select odd from read_models.lead_analytics").fetchone() == (Decimal("12.5"),)


def test_names_that_sql_would_read_otherwise_are_refused() -> None:
    """Capitals, and the parameters of the function as of a moment."""
    for name, says in (("Odd", "'Odd' is no name; take small letters"), ("at", "the name at is taken")):
        with pytest.raises(PipelinesError, match=says):
            replace(LEADS, columns=(*LEADS.columns, count(name, "Odd", "email_sent")))


def test_a_new_model_that_cannot_fold_what_is_there_leaves_nothing(database: ConnectionPool) -> None:
    """No table, no checkpoint; whoever does not ask which failed gets the first as an error."""
    up_to = append(database, 1, "hello")
    assert list(advance(database, up_to, BRITTLE, CAMPAIGNS)) == [LEADS.name]
    assert checkpoints(database) == {sql.table(CAMPAIGNS): up_to}
    with database.connection() as connection:
        assert connection.execute("select to_regclass(%s)", [sql.table(BRITTLE)]).fetchone() == (None,)
        with pytest.raises(PipelinesError, match=r"lead_analytics\.py: it cannot be folded: invalid input"):
            projector.advance(connection, [BRITTLE], up_to)
