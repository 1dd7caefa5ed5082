"""The vault: where the keys of subjects are kept, wrapped, apart from the log.

Defines `Vault`, which seals personal values on their way into the log, reveals them to readers who hold the master key,
and seals what is quarantined. The cryptography stands in `encryption.py`, destroying a key in `erasure.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log.encryption import (
    ERASED,
    KEY_BYTES,
    SEALED,
    Encrypted,
    MasterKeyError,
    MasterKeys,
    SubjectKey,
    TamperedError,
    load_master_keys,
)
from analytics_pipelines.event_log.validation import Refusal, json_text

if TYPE_CHECKING:
    from psycopg import Connection

    from analytics_pipelines.event_log.event import Event, NewEvent

CACHED_KEYS = 4_096
QUARANTINE = "quarantine"
"""The subject whose key seals a tenant's quarantine. Nobody can be called so: a person's name has a kind, `lead-42`."""

# The limit keeps the planner at one index probe for each subject.
_FIND = """
    select asked.tenant_id, asked.subject, known.wrapped_key, known.key_version
    from unnest(%b::text[], %b::text[]) as asked (tenant_id, subject)
    cross join lateral (
        select wrapped_key, key_version from vault.subject_keys
        where tenant_id = asked.tenant_id and subject = asked.subject limit 1
    ) as known
"""
_MAKE = """
    insert into vault.subject_keys (tenant_id, subject, wrapped_key, key_version)
    select tenant_id, subject, wrapped_key, %s from unnest(%b::text[], %b::text[], %b::bytea[])
        as made (tenant_id, subject, wrapped_key)
    order by tenant_id collate "C", subject collate "C"
    on conflict (tenant_id, subject) do nothing
"""
# What this transaction wrote itself may yet be rolled back; its rows, also those of a savepoint, are no older than it.
_KNOWN_MASTER_KEYS = """
    select version, fingerprint,
        pg_current_xact_id_if_assigned() is null or age(xmin) > age(pg_current_xact_id_if_assigned()::xid)
    from vault.master_keys
"""
_REMEMBER_MASTER_KEY = "insert into vault.master_keys (version, fingerprint) values (%s, %s) on conflict do nothing"

Owner = tuple[str, str]
"""Tenant and subject."""


@dataclass(slots=True)
class PersonalEvent:
    """An event of a type with personal fields, on its way into the log.

    Attributes:
        event: as it was sent.
        subject: whose values it holds; None where the payload does not say.
        sent: its payload, with derived fields.
        values: its personal values.
        refused: why it is refused whoever it is about, or None.
    """

    event: NewEvent
    subject: str | None
    sent: dict[str, Any]
    values: dict[str, Any]
    refused: Refusal | None


class Vault:
    """Seals and reveals with the keys of subjects. Safe to share between threads.

    Keys are looked up in the database each time, so that an erasure counts from its commit on; only their unwrapping is
    remembered.
    """

    def __init__(self, keys: MasterKeys | None = None) -> None:
        """Take the master keys; those of the settings, read when first needed, unless given."""
        self._given = keys
        self._unwrapped = lru_cache(CACHED_KEYS)(self._unwrap)
        self._is_checked = False

    @cached_property
    def keys(self) -> MasterKeys | None:
        """The master keys, or None where none are configured."""
        from analytics_pipelines.settings import load_settings

        return self._given or load_master_keys(load_settings())

    def seal(self, connection: Connection, tenant_id: str, events: Sequence[PersonalEvent]) -> list[str | Refusal]:
        """Return of each event the payload to be stored, as JSON text, or why it is refused.

        Keys that are missing are made, in the connection's transaction.

        Raises:
            MasterKeyError: there are personal values and no master key, or not the right one.
        """
        owners = {(tenant_id, event.subject) for event in events if event.subject is not None}
        needed = {
            (tenant_id, event.subject)
            for event in events
            if event.subject is not None and event.values and event.refused is None
        }
        found = self._find(connection, owners)
        missing = needed - found.keys()
        if missing:
            self._make(connection, missing)
            found |= self._find(connection, missing)
        return [self._sealed(tenant_id, event, found) for event in events]

    def reveal(self, connection: Connection, events: Iterable[Event]) -> None:
        """Put the personal values of these events in the place of what the log keeps of them, in their `data`.

        A value of an erased subject becomes `ERASED`; without a master key all become `Encrypted`.

        Raises:
            PipelinesError: the master key is not the right one, or a value was tampered with.
        """
        sealed: list[tuple[Event, str, Owner, str]] = [
            (event, name, (event.tenant_id, value["subject"]), value["value"])
            for event in events
            for name, value in event.data.items()
            if isinstance(value, dict) and isinstance(value.get("subject"), str) and isinstance(value.get("value"), str)
            if SEALED in value
        ]
        if not sealed:
            return
        found = self._find(connection, {owner for _, _, owner, _ in sealed})
        for event, name, owner, value in sealed:
            wrapped = found.get(owner)
            if wrapped is None:  # destroyed; or lost, which is the same to a reader
                event.data[name] = ERASED
            elif self.keys is None:
                event.data[name] = Encrypted(owner[1])
            else:
                place = (event.tenant_id, event.source, event.event_id)
                try:
                    event.data[name] = self._unwrapped(owner, *wrapped).open(place, name, value)
                except TamperedError:
                    raise PipelinesError(
                        f"{event.event_type} {event.event_id} of {event.tenant_id}: {name} is not what was sealed; "
                        "run `pipelines verify`, and restore the row from a backup"
                    ) from None

    def lock_refused(self, connection: Connection, tenant_id: str, contents: Sequence[bytes]) -> list[bytes]:
        """Seal bytes for a tenant's quarantine; empty ones stay empty.

        Raises:
            MasterKeyError: there is no master key, or not the right one.
        """
        if not any(contents):
            return list(contents)
        owner = (tenant_id, QUARANTINE)
        found = self._find(connection, {owner})
        if not found:
            self._make(connection, {owner})
            found = self._find(connection, {owner})
        key = self._unwrapped(owner, *_whole(found[owner]))
        return [content and key.lock(content, f"{tenant_id}\0{QUARANTINE}") for content in contents]

    def unlock_refused(self, connection: Connection, tenant_id: str, contents: Sequence[bytes]) -> list[bytes]:
        """Return bytes of a tenant's quarantine as they were sent.

        Raises:
            PipelinesError: there is no master key, not the right one, or bytes were tampered with.
        """
        if not any(contents):
            return list(contents)
        owner = (tenant_id, QUARANTINE)
        found = self._find(connection, {owner})
        key = self._unwrapped(owner, *_whole(found.get(owner)))
        try:
            return [content and key.unlock(content, f"{tenant_id}\0{QUARANTINE}") for content in contents]
        except TamperedError:
            raise PipelinesError(
                f"the quarantine of {tenant_id} holds bytes that are not what was sealed; restore them from a backup"
            ) from None

    def required_keys(self, connection: Connection) -> MasterKeys:
        """Return the master keys, found to be those of this database.

        Raises:
            MasterKeyError: there are none, or they are other ones.
        """
        keys = self.keys
        if keys is None:
            raise MasterKeyError(
                "no master key is configured, and personal data and refused events are kept encrypted; set "
                "PIPELINES_MASTER_KEY to what `openssl rand -base64 32` prints, or run `pipelines up`, which makes one"
            )
        if not self._is_checked:
            known = {
                version: (fingerprint, is_committed)
                for version, fingerprint, is_committed in connection.execute(_KNOWN_MASTER_KEYS).fetchall()
            }
            for version, fingerprint in keys.fingerprints.items():
                if version in known and known[version][0] != fingerprint:
                    raise MasterKeyError(
                        f"master key version {version} is not the one this database's keys are wrapped by; put back "
                        "that one, or give the new one a higher version: 2:<base64>,1:<base64>"
                    )
            # Until it is committed another process may bring another one.
            self._is_checked = keys.newest in known and known[keys.newest][1]
        return keys

    def _find(self, connection: Connection, owners: Iterable[Owner]) -> dict[Owner, tuple[bytes, int] | None]:
        """Look keys up; None of a subject that was erased."""
        asked = list(owners)
        if not asked:
            return {}
        with connection.cursor() as cursor:
            cursor.execute(_FIND, [[tenant for tenant, _ in asked], [subject for _, subject in asked]], binary=True)
            found = {
                (tenant, subject): None if wrapped is None else (wrapped, version)
                for tenant, subject, wrapped, version in cursor.fetchall()
            }
        if self.keys is not None and any(found.values()):
            self.required_keys(connection)
        return found

    def _make(self, connection: Connection, owners: Iterable[Owner]) -> None:
        keys = self.required_keys(connection)
        connection.execute(_REMEMBER_MASTER_KEY, [keys.newest, keys.fingerprints[keys.newest]])
        made = list(owners)
        random = os.urandom(KEY_BYTES * len(made))
        wrapped = [
            keys.wrap(random[start : start + KEY_BYTES], _owner(owner))
            for start, owner in zip(range(0, len(random), KEY_BYTES), made, strict=True)
        ]
        tenants, subjects = [tenant for tenant, _ in made], [subject for _, subject in made]
        connection.execute(_MAKE, [keys.newest, tenants, subjects, wrapped])

    def _unwrap(self, owner: Owner, wrapped: bytes, version: int) -> SubjectKey:
        if self.keys is None:
            raise MasterKeyError("no master key is configured; set PIPELINES_MASTER_KEY, or run `pipelines up`")
        return SubjectKey(self.keys.unwrap(wrapped, version, _owner(owner)))

    def _sealed(
        self, tenant_id: str, event: PersonalEvent, found: dict[Owner, tuple[bytes, int] | None]
    ) -> str | Refusal:
        if event.subject is None:
            assert event.refused is not None
            return event.refused
        owner = (tenant_id, event.subject)
        if owner in found and found[owner] is None:
            return Refusal("erased", f"{event.subject} was erased; nothing of it is taken any more")
        if event.refused is not None:
            return event.refused
        if not event.values:
            return json_text(event.sent)
        key = self._unwrapped(owner, *_whole(found.get(owner)))
        place = (tenant_id, event.event.source, event.event.event_id)
        return json_text({**event.sent, **key.seal(place, event.subject, event.values)})


def _owner(owner: Owner) -> str:
    return "\0".join(owner)


def _whole(found: tuple[bytes, int] | None) -> tuple[bytes, int]:
    if found is None:
        raise PipelinesError("a key was made by another writer at the same moment; begin again")
    return found
