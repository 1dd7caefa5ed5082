"""Erasing a person: destroying the key, and every readable copy beside the log.

Defines `erase()`, `repeat()` for a database that was restored from a backup, and `rotate()` of the master key. The log
itself stays as it is: without the key nobody can read the person's values in it, nor in any backup of it.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log.catalog import load_catalog
from analytics_pipelines.event_log.copies import Named, forget_files
from analytics_pipelines.event_log.encryption import SEALED, load_master_keys, new_master_key
from analytics_pipelines.event_log.event import NewEvent
from analytics_pipelines.event_log.store import EventStore
from analytics_pipelines.event_log.validation import require_tenant
from analytics_pipelines.event_log.vault import Vault
from analytics_pipelines.local.files import OWNER_ONLY, write_private

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from psycopg import Connection
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.settings import Settings

BATCH = 2_000

_AFFECTED = """
    select event_type, count(*) from event_log.events
    where tenant_id = %(tenant_id)s and event_type = any (%(types)s) and data ->> %(field)s = %(identifier)s
        and exists (
            select from jsonb_each(data) as field
            where jsonb_typeof(field.value) = 'object' and field.value ? %(sealed)s)
    group by event_type order by event_type
"""
_REFUSED = """
    select quarantine_id, bytes, is_sealed from event_log.quarantine
    where tenant_id = %s and quarantine_id > %s order by quarantine_id limit %s
"""
_WRAPPED = """
    select tenant_id, subject, wrapped_key, key_version from vault.subject_keys
    where (tenant_id, subject) > (%s, %s) and erased_at is null order by tenant_id, subject limit %s
"""
_NOT_IN_FORCE = """
    select asked.erasure_id from unnest(%s::text[], %s::text[], %s::text[]) as asked (tenant_id, subject, erasure_id)
    where not exists (
            select from vault.subject_keys as k
            where k.tenant_id = asked.tenant_id and k.subject = asked.subject and k.erased_at is not null)
        or not exists (
            select from vault.erasures as e
            where e.tenant_id = asked.tenant_id and e.erasure_id = asked.erasure_id)
"""
_NEW_KEYS = "insert into vault.master_keys (version, fingerprint) values (%s, %s) on conflict do nothing"


@dataclass(frozen=True, slots=True)
class Erasure:
    """One line of the erasures' own record, which is kept outside the database."""

    erasure_id: str
    tenant_id: str
    subject: str
    asked_at: str


def erase(pool: ConnectionPool, settings: Settings, tenant_id: str, name: str) -> dict[str, Any]:
    """Erase a person, and return the certificate of what was touched. Erasing again does no harm.

    Args:
        pool: runtime sessions.
        settings: where the record of erasures and the landed files are.
        tenant_id: whose subject.
        name: the subject, `lead-42`; the identifier alone where it names only one.

    Raises:
        PipelinesError: it is not clear who is meant, or the quarantine cannot be opened.
    """
    require_tenant(tenant_id)
    with pool.connection() as connection:
        subject = resolve(connection, tenant_id, name, _kinds(settings))
        _vault(settings).required_keys(connection)  # fails now rather than half-way
    erasure = Erasure(str(uuid.uuid4()), tenant_id, subject, datetime.now(UTC).isoformat(timespec="seconds"))
    # First of all: whatever happens from here on, it is done again by `repeat`.
    _record(record_file(settings.home), erasure)
    return _carry_out(pool, settings, erasure, repeated=False)


def repeat(pool: ConnectionPool, settings: Settings) -> list[dict[str, Any]]:
    """Erase again whom this database does not know to be erased, as after a restore, and return the certificates."""
    with pool.connection() as connection:
        missing = not_in_force(connection, record_file(settings.home))
    return [_carry_out(pool, settings, erasure, repeated=True) for erasure in missing]


def not_in_force(connection: Connection, path: Path) -> list[Erasure]:
    """Return the recorded erasures that this database does not know of: whom they are about can be read again.

    Raises:
        PipelinesError: a line of the record cannot be read.
    """
    asked = list(recorded(path))
    rows = connection.execute(
        _NOT_IN_FORCE,
        [[one.tenant_id for one in asked], [one.subject for one in asked], [one.erasure_id for one in asked]],
    ).fetchall()
    missing = {erasure_id for (erasure_id,) in rows}
    return [one for one in asked if one.erasure_id in missing]


def resolve(connection: Connection, tenant_id: str, name: str, kinds: Collection[str]) -> str:
    """Return the one subject that a name means.

    Args:
        connection: a runtime session.
        tenant_id: whose subject.
        name: `lead-42`, or `42`.
        kinds: what subjects can be: a lead, a customer.

    Raises:
        PipelinesError: several are meant, or nobody is known by that name and it does not say of which kind.
    """
    is_full = any(name.startswith(f"{kind}-") and len(name) > len(kind) + 1 for kind in kinds)
    candidates = [*([name] if is_full else []), *(f"{kind}-{name}" for kind in sorted(kinds))]
    rows = connection.execute(
        "select subject from vault.subject_keys where tenant_id = %s and subject = any (%s) order by subject",
        [tenant_id, candidates],
    ).fetchall()
    known = [subject for (subject,) in rows]
    if is_full and (name in known or not known):
        return name
    if len(known) == 1 and not is_full:
        return known[0]
    if known:
        raise PipelinesError(f"{name} of {tenant_id} may be {' or '.join(known)}; name the one to erase")
    choice = ", ".join(f"{kind}-{name}" for kind in sorted(kinds))
    raise PipelinesError(f"nobody of {tenant_id} with personal data is called {name}; say who: {choice}")


def rotate(pool: ConnectionPool, settings: Settings) -> tuple[int, int]:
    """Put every key under the newest master key, and return its version and how many keys were put there.

    Where the master keys are kept in a file of ours, a new one is added first. Older ones stay in it: a restored backup
    needs them. Once no backup is left that does, remove them: copies of destroyed keys are worthless from then on.

    Raises:
        PipelinesError: there is no master key, or a needed one is missing.
    """
    with pool.connection() as connection:
        keys = _vault(settings).required_keys(connection)
    if settings.master_key is None:
        path = settings.master_keys_path
        write_private(path, path.read_text(encoding="ascii").rstrip("\n") + "\n" + new_master_key(keys.newest + 1))
    vault = _vault(settings)
    rewrapped = 0
    with pool.connection() as connection:
        keys = vault.required_keys(connection)
        connection.execute(_NEW_KEYS, [keys.newest, keys.fingerprints[keys.newest]])
        for rows in _batches(connection):
            old = [row for row in rows if row[3] != keys.newest]
            owners = [f"{tenant}\0{subject}" for tenant, subject, _, _ in old]
            new = [
                keys.wrap(keys.unwrap(wrapped, version, owner), owner)
                for owner, (_, _, wrapped, version) in zip(owners, old, strict=True)
            ]
            changed = connection.execute(
                "select vault.rewrap(%s, %s, %s, %s, %s::smallint)",
                [[row[0] for row in old], [row[1] for row in old], [row[2] for row in old], new, keys.newest],
            ).fetchone()
            assert changed is not None
            rewrapped += changed[0]
            connection.commit()
    return keys.newest, rewrapped


def record_file(home: Path) -> Path:
    """Name the file outside the database, in the state folder, that remembers every erasure."""
    return home / "audit" / "erasures.jsonl"


def recorded(path: Path) -> Iterator[Erasure]:
    """Yield the erasures that were ever asked for on this machine.

    Raises:
        PipelinesError: a line cannot be read.
    """
    if not path.exists():
        return
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line:
            continue
        try:
            yield Erasure(**json.loads(line))
        except (ValueError, TypeError):
            raise PipelinesError(f"{path}:{number}: not a record of an erasure; restore the file") from None


def _carry_out(pool: ConnectionPool, settings: Settings, erasure: Erasure, *, repeated: bool) -> dict[str, Any]:
    tenant_id, subject = erasure.tenant_id, erasure.subject
    catalog = load_catalog(settings.schemas)
    kinds = [declared.kind for declared in catalog.personal.values() if subject.startswith(f"{declared.kind}-")]
    kind = max(kinds, key=len, default=subject.partition("-")[0])
    types: dict[str, set[str]] = {}
    for (event_type, _), declared in catalog.personal.items():
        if declared.kind == kind:
            types.setdefault(declared.subject_field, set()).add(event_type)
    named = Named(subject, subject.removeprefix(f"{kind}-"), frozenset(types))
    files = forget_files(settings.landing / tenant_id, named)
    vault = _vault(settings)
    event_id = str(uuid.uuid4()) if repeated else erasure.erasure_id
    with pool.connection() as connection, connection.transaction():
        affected: dict[str, int] = {}
        for field, names in sorted(types.items()):
            asked = {"tenant_id": tenant_id, "types": sorted(names), "field": field, "identifier": named.identifier}
            for event_type, events in connection.execute(_AFFECTED, {**asked, "sealed": SEALED}).fetchall():
                affected[event_type] = affected.get(event_type, 0) + events
        row = connection.execute(
            "select key_destroyed, profile_deleted, session_user from vault.erase_subject(%s, %s)", [tenant_id, subject]
        ).fetchone()
        assert row is not None
        certificate: dict[str, Any] = {
            "erasure_id": erasure.erasure_id,
            "tenant": tenant_id,
            "subject": subject,
            "asked_at": erasure.asked_at,
            "erased_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "erased_by": row[2],
            "repeated": repeated,
            "key_destroyed": row[0],
            "profile_deleted": row[1],
            "events": affected,
            "quarantine_scrubbed": _scrub(connection, vault, tenant_id, named),
            "files": files,
        }
        told = _event(connection, erasure, event_id)
        EventStore(pool, catalog, vault).append(tenant_id, told.stream_id, [told], connection=connection)
        connection.execute(
            "insert into vault.erasures (tenant_id, erasure_id, subject, certificate) values (%s, %s, %s, %s)",
            [tenant_id, erasure.erasure_id, subject, Jsonb(certificate)],
        )
    # What was being read or refused while the key was still there is committed by now, or will be refused.
    again = forget_files(settings.landing / tenant_id, named)
    certificate["files"] = {what: list(dict.fromkeys([*paths, *again[what]])) for what, paths in files.items()}
    with pool.connection() as connection, connection.transaction():
        certificate["quarantine_scrubbed"] += _scrub(connection, vault, tenant_id, named)
    return certificate


def _kinds(settings: Settings) -> set[str]:
    return {declared.kind for declared in load_catalog(settings.schemas).personal.values()}


def _vault(settings: Settings) -> Vault:
    return Vault(load_master_keys(settings))


def _scrub(connection: Connection, vault: Vault, tenant_id: str, named: Named) -> int:
    """Forget the bytes of refused events that name the subject."""
    scrubbed, last = 0, 0
    while True:
        rows = connection.execute(_REFUSED, [tenant_id, last, BATCH]).fetchall()
        if not rows:
            return scrubbed
        last = rows[-1][0]
        opened = vault.unlock_refused(
            connection, tenant_id, [content if sealed else b"" for _, content, sealed in rows]
        )
        found = [
            number
            for (number, content, sealed), plain in zip(rows, opened, strict=True)
            if named.stands_in(plain if sealed else content)
        ]
        if found:
            row = connection.execute("select vault.scrub_quarantine(%s, %s)", [tenant_id, found]).fetchone()
            assert row is not None
            scrubbed += row[0]


def _event(connection: Connection, erasure: Erasure, event_id: str) -> NewEvent:
    """Tell the log of an erasure, at the event time that the tenant has reached: an erasure moves no watermark."""
    row = connection.execute("select progress.watermark(%s)", [erasure.tenant_id]).fetchone()
    reached = row[0] if row is not None else None
    if reached is None:
        newest = connection.execute(
            "select occurred_at from event_log.events where tenant_id = %s order by position desc limit 1",
            [erasure.tenant_id],
        ).fetchone()
        reached = newest[0] if newest is not None else datetime.fromisoformat(erasure.asked_at)
    return NewEvent(
        source="pipelines/erasure",
        event_id=event_id,
        stream_id=f"erasure-{erasure.erasure_id}",
        event_type="subject_erased",
        occurred_at=reached,
        data={"erasure_id": erasure.erasure_id, "subject": erasure.subject},
    )


def _batches(connection: Connection) -> Iterator[list[tuple[str, str, bytes, int]]]:
    last: tuple[str, str] = ("", "")
    while rows := connection.execute(_WRAPPED, [*last, BATCH]).fetchall():
        yield rows
        last = rows[-1][0], rows[-1][1]


def _record(path: Path, erasure: Erasure) -> None:
    """Append one line and see it on the disk."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Begun on a line of its own: a crash may have left the last one unfinished.
    line = "\n" + json.dumps({name: getattr(erasure, name) for name in erasure.__slots__}) + "\n"
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, OWNER_ONLY)
    with os.fdopen(handle, "a", encoding="utf-8") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
