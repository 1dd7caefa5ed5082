"""The feature store: publishes the offline tables to Redis, and reads both.

Defines `FeatureStore`. In Redis each entity is one hash, whose fields change together; its key carries a hash tag, so
that a cluster keeps it on one node:

    features:{<tenant>:<entity>}:<group>    as_of, position and the features; the empty text is null
    features:<tenant>:<group>:position      the position the tenant's entities are published to, written last

Tenant and entity are percent-encoded in keys: no id can pose as another. What is computed stands in `registry.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from analytics_pipelines.features import offline
from analytics_pipelines.features.registry import FeatureGroup, feature_group

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from psycopg_pool import ConnectionPool
    from redis import Redis

CHUNK_KEYS = 1_000
SCAN_KEYS = 10_000


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """What is known of one entity.

    Attributes:
        entity_id: which lead, which customer.
        as_of: the moment the values hold for (UTC).
        position: the position of the log they were built to.
        values: the features by name; None where nothing is known.
    """

    entity_id: str
    as_of: datetime
    position: int
    values: Mapping[str, int | Decimal | None]


@dataclass(frozen=True, slots=True)
class Difference:
    """An entity whose online features are not its offline features; a store that has none of it gives None."""

    tenant_id: str
    entity_id: str
    offline: Mapping[str, str] | None
    online: Mapping[str, str | None] | None


class FeatureStore:
    """Features by entity, offline (Postgres) and online (Redis). Safe to share between threads."""

    def __init__(self, pool: ConnectionPool, redis: Redis) -> None:
        """Take a pool of runtime sessions and a client that decodes responses; nothing is read or written yet."""
        self._pool = pool
        # The client's own types fit both its synchronous and its asynchronous kind, and so neither.
        self._redis: Any = redis

    def offline(self, tenant_id: str, group: str, entity_ids: Sequence[str] | None = None) -> dict[str, FeatureRow]:
        """Return the offline features by entity: of those asked for, or of all. An unknown entity is left out.

        Raises:
            PipelinesError: there is no such group.
        """
        declared = feature_group(group)
        with self._pool.connection() as connection:
            return {
                row.entity_id: _feature_row(declared, row.entity_id, row.fields)
                for chunk in offline.read_rows(connection, declared, tenant_id, entity_ids)
                for row in chunk
            }

    def online(self, tenant_id: str, group: str, entity_ids: Sequence[str]) -> dict[str, FeatureRow]:
        """Return the online features by entity. An entity that is not published is left out.

        The values of one entity belong together. While a publication is under way, entities may be of different
        positions: `FeatureRow.position` tells, `published_position` says which of them is published completely.

        Raises:
            PipelinesError: there is no such group.
        """
        declared = feature_group(group)
        found = self._read(declared, [entity_key(tenant_id, entity_id, group) for entity_id in entity_ids])
        return {
            entity_id: _feature_row(declared, entity_id, fields)
            for entity_id, fields in zip(entity_ids, found, strict=True)
            if fields is not None
        }

    def published_position(self, tenant_id: str, group: str) -> int | None:
        """Return the position a tenant's features are published to, or None before the first publication."""
        position = self._redis.get(position_key(tenant_id, group))
        return None if position is None else int(position)

    def publish(self, group: str) -> dict[str, int]:
        """Make the online features of all tenants equal to the offline ones, and return the entities by tenant.

        Entities that are gone offline are removed. An interrupted publication is completed by the next one; so is a
        Redis that lost its data. Publications of a group wait for each other.

        Raises:
            PipelinesError: there is no such group.
        """
        declared = feature_group(group)
        positions: dict[str, str] = {}
        counts: dict[str, int] = {}
        published: set[str] = set()
        with self._pool.connection() as connection:
            connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"features.{group}"])
            for chunk in offline.read_rows(connection, declared):
                pipeline = self._redis.pipeline(transaction=False)
                for row in chunk:
                    key = entity_key(row.tenant_id, row.entity_id, group)
                    pipeline.hset(key, mapping=row.fields)
                    published.add(key)
                    counts[row.tenant_id] = counts.get(row.tenant_id, 0) + 1
                    positions[position_key(row.tenant_id, group)] = row.fields["position"]
                pipeline.execute()
            self._delete(self._keys(f"features:{{*}}:{group}") - published)
            self._delete(self._keys(f"features:*:{group}:position") - positions.keys())
            for key, position in positions.items():
                self._redis.set(key, position)
        return counts

    def differences(self, group: str) -> list[Difference]:
        """Read everything back and return the entities whose online features are not the offline ones.

        Texts are compared, so a value that lost a digit is found. Position and as_of count as well: of a tenant whose
        offline table was built anew, or whose publication was interrupted, every entity differs until it is published.

        Raises:
            PipelinesError: there is no such group.
        """
        declared = feature_group(group)
        found: list[Difference] = []
        expected: set[str] = set()
        published: dict[str, str | None] = {}
        with self._pool.connection() as connection:
            for chunk in offline.read_rows(connection, declared):
                keys = [entity_key(row.tenant_id, row.entity_id, group) for row in chunk]
                expected.update(keys)
                for row, online in zip(chunk, self._read(declared, keys), strict=True):
                    if row.tenant_id not in published:
                        published[row.tenant_id] = self._redis.get(position_key(row.tenant_id, group))
                    if online != row.fields or published[row.tenant_id] != row.fields["position"]:
                        found.append(Difference(row.tenant_id, row.entity_id, row.fields, online))
        stale = sorted(self._keys(f"features:{{*}}:{group}") - expected)
        for key, online in zip(stale, self._read(declared, stale), strict=True):
            found.append(Difference(*_ids(key), None, online))
        return found

    def _read(self, group: FeatureGroup, keys: Sequence[str]) -> list[dict[str, str] | None]:
        """Return what each hash holds, or None for one that lacks a field of this version of the group."""
        names = offline.field_names(group)
        found: list[dict[str, str] | None] = []
        for start in range(0, len(keys), CHUNK_KEYS):
            pipeline = self._redis.pipeline(transaction=False)
            for key in keys[start : start + CHUNK_KEYS]:
                pipeline.hmget(key, names)
            found += (
                None if None in values else dict(zip(names, values, strict=True)) for values in pipeline.execute()
            )
        return found

    def _keys(self, pattern: str) -> set[str]:
        # An index of keys could disagree with the keys; walking over them cannot.
        return set(self._redis.scan_iter(match=pattern, count=SCAN_KEYS))

    def _delete(self, keys: set[str]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for key in keys:
            pipeline.unlink(key)
        pipeline.execute()


def entity_key(tenant_id: str, entity_id: str, group: str) -> str:
    """Return the Redis key of one entity's features."""
    return f"features:{{{quote(tenant_id, safe='')}:{quote(entity_id, safe='')}}}:{group}"


def position_key(tenant_id: str, group: str) -> str:
    """Return the Redis key of the position a tenant's features are published to."""
    return f"features:{quote(tenant_id, safe='')}:{group}:position"


def _ids(key: str) -> tuple[str, str]:
    """Take tenant and entity out of the key that `entity_key` made of them."""
    tenant_id, entity_id = key[key.index("{") + 1 : key.index("}")].split(":")
    return unquote(tenant_id), unquote(entity_id)


def _feature_row(group: FeatureGroup, entity_id: str, fields: Mapping[str, str]) -> FeatureRow:
    parse = {"integer": int, "numeric": Decimal}
    return FeatureRow(
        entity_id=entity_id,
        as_of=datetime.fromisoformat(fields["as_of"]),
        position=int(fields["position"]),
        values={
            feature.name: parse[feature.type](fields[feature.name]) if fields[feature.name] else None
            for feature in group.features
        },
    )
