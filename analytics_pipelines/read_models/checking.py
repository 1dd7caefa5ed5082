"""What is checked of a read model.

Defines the findings of each check, over plain sessions. A run checks what the events since the last check touch;
`everything` is every row there is. Add a finding here and its name in `checks.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, LiteralString, cast

from psycopg import sql as pg

from analytics_pipelines import progress
from analytics_pipelines.event_log import EventStore
from analytics_pipelines.read_models import comparison, projector, versions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from psycopg import Connection
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.read_models.declaration import ReadModel
    from analytics_pipelines.read_models.versions import Version

EVERYTHING_SHARE = 4
"""Where a fourth of the log or more is new, one replay of all keys costs less than that of each touched one."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    Attributes:
        passed: whether it holds.
        facts: what is shown of it.
        is_warning: where it does not, nobody is kept back.
    """

    passed: bool
    facts: dict[str, str | int | list[str]]
    is_warning: bool = False


@dataclass(frozen=True, slots=True)
class _Look:
    """A model as one moment shows it: what is served, from where on, up to where."""

    model: ReadModel
    version: Version
    after: int
    up_to: int
    settled: int
    everything: bool


def look(
    pool: ConnectionPool, model: ReadModel, checks: Iterable[str], *, everything: bool, built: bool
) -> Iterator[tuple[str, Finding]]:
    """Check a model, and give what was found under the name of each check.

    Args:
        pool: sessions.
        model: the model.
        checks: the names of the checks.
        everything: look at every row.
        built: the same run has advanced the model. Otherwise somebody asks for the check itself, and where nothing is
            new since the last one every row is looked at, too.
    """
    found: dict[str, Finding] = {}
    with pool.connection() as connection:
        connection.execute("set transaction isolation level repeatable read")  # rows and checkpoint of one moment
        entry = versions.served(connection, model.name)
        if entry is None:
            missing = Finding(passed=False, facts={"reason": f"{model.name} was never built"})
            yield from ((name, missing) for name in checks)
            return
        up_to, after = progress.position_of(connection, entry.version.table), entry.checked_position
        new = up_to - after
        everything = everything or (new == 0 and not built) or 0 < up_to <= new * EVERYTHING_SHARE
        settled = EventStore(pool).settled_position()  # after the snapshot, which may hold no more than that
        at = _Look(model, entry.version, after, up_to, settled, everything)
        for name in checks:
            found[name] = FINDINGS[name](connection, at)
    looked = [found[name] for name in ("live_equals_replay", "no_invalid_key") if name in found]
    with pool.connection() as connection:
        if not all(finding.passed for finding in looked):
            versions.note_wrong(connection, entry.version)  # the next check looks at every row, until it is put right
        elif "live_equals_replay" in found:
            versions.note_checked(connection, entry.version, up_to)
    yield from found.items()


def _position_is_settled(connection: Connection, at: _Look) -> Finding:
    events, seconds = progress.lag(connection, at.up_to)
    facts: dict[str, str | int | list[str]] = {
        "position": at.up_to, "settled_position": at.settled, "lag_events": events, "lag_seconds": round(seconds),
    }  # fmt: skip
    return Finding(at.up_to <= at.settled, facts)


def _no_invalid_key(connection: Connection, at: _Look) -> Finding:
    key = at.version.key[1:]
    without = " or ".join(f"{name} is null" for name in key)
    empty = " or ".join(f"{name}::text = ''" for name in key)
    counts = f"select count(*) filter (where {without}), count(*) filter (where {empty}) from ({at.version.new}) as new"
    row = connection.execute(_sql(counts), {"after": at.after, "up_to": at.up_to}).fetchone()
    assert row is not None
    rows = row[1]
    if at.everything:
        live = connection.execute(_sql(f"select count(*) from {at.version.table} where {empty}")).fetchone()
        assert live is not None
        rows = live[0]
    return Finding(rows == 0, {"empty_keys": rows, "events_without_key": row[0]})


def _serves_its_declaration(connection: Connection, at: _Look) -> Finding:
    del connection
    declared = versions.declared(at.model).version
    facts: dict[str, str | int | list[str]] = {"served": at.version.version, "declared": declared}
    if at.version.version != declared:
        facts["remedy"] = f"pipelines rebuild {at.model.name}"
    return Finding(at.version.version == declared, facts, is_warning=True)


def _live_equals_replay(connection: Connection, at: _Look) -> Finding:
    if detached := projector.detached(connection):
        reason = "the events of these partitions are gone, so that no row can be folded again to compare it"
        return Finding(passed=False, facts={"detached": detached, "reason": reason}, is_warning=True)
    after = None if at.everything else at.after
    found = comparison.differences(connection, at.version, after=after)
    facts: dict[str, str | int | list[str]] = {
        "keys_compared": found.keys, "differing": found.differing, "compared": "all" if at.everything else "touched",
    }  # fmt: skip
    if found.left_out:
        facts["left_to_the_nightly_check"] = found.left_out
    if found.differing:
        facts["remedy"] = f"pipelines rebuild {at.model.name}"
    return Finding(not found.differing, facts)


FINDINGS: dict[str, Callable[[Connection, _Look], Finding]] = {
    "position_is_settled": _position_is_settled,
    "no_invalid_key": _no_invalid_key,
    "serves_its_declaration": _serves_its_declaration,
    "live_equals_replay": _live_equals_replay,
}
"""By name of the check."""


def _sql(text: str) -> pg.SQL:
    """Vouch for generated SQL: it is made from declarations, which are code."""
    return pg.SQL(cast("LiteralString", text))
