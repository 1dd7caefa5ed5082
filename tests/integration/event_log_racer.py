"""A process of the race harness, to be killed at any moment: `write` or `read`, started by test_event_log_race.py.

A writer appends to a stream of its own and to one that all share, pausing wherever a position is handed out and not yet
committed, and rolls some transactions back. A reader appends the positions it has read to a file, its memory.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import psycopg

OPTIONS = "-c role=pipelines_runtime"
BATCH = 1_000
HEAD = """
    insert into event_log.streams as head values ('race', %s, %s)
    on conflict (tenant_id, stream_id) do update set version = head.version + excluded.version returning version
"""
INSERT = """
    insert into event_log.events (tenant_id, source, event_id, stream_id, stream_version, event_type, schema_version,
        occurred_at, data)
    select 'race', %s, %s || '/' || number, %s, %s + number, 'order_paid', 1, now(), '{}'
    from generate_series(1, %s) as number
"""
READ = "select position from event_log.events where position > %s and position <= %s order by position limit %s"


def write(url: str, seed: str, transactions: int, most: int) -> None:
    """Commit or roll back so many transactions, of up to three statements of up to `most` events."""
    chance = random.Random(seed)
    with psycopg.connect(url, options=OPTIONS) as connection:
        for transaction in range(transactions):
            for statement in range(chance.randint(1, 3)):
                stream = "shared" if chance.random() < 0.1 else f"of {seed}"
                events = chance.randint(1, most)
                head = connection.execute(HEAD, [stream, events]).fetchone()
                assert head is not None
                time.sleep(chance.random() * 0.002)
                arguments = [seed, f"{transaction}/{statement}", stream, head[0] - events, events]
                connection.execute(INSERT, arguments)
                time.sleep(chance.random() * 0.004)
            if chance.random() < 0.1:
                connection.rollback()
            else:
                connection.commit()


def read(url: str, memory: Path, is_safe: bool) -> None:  # noqa: FBT001 - from the command line
    """Follow the log from where the memory ends, until killed."""
    with psycopg.connect(url, autocommit=True, options=OPTIONS) as connection, memory.open("a") as file:
        after = last(memory)
        while True:
            settled = connection.execute("select event_log.settle()").fetchone() if is_safe else (2**62,)
            assert settled is not None
            rows = connection.execute(READ, [after, settled[0], BATCH]).fetchall()
            if rows:
                after = rows[-1][0]
                file.write("".join(f"{position}\n" for (position,) in rows))
                file.flush()


def positions(memory: Path) -> list[int]:
    """Return what was read; a line that a kill cut off was not."""
    text = memory.read_text()
    complete = text[: text.rfind("\n") + 1]
    return [int(line) for line in complete.splitlines()]


def last(memory: Path) -> int:
    """Return where to go on, and forget a line that was cut off."""
    read_so_far = positions(memory)
    memory.write_text("".join(f"{position}\n" for position in read_so_far))
    return read_so_far[-1] if read_so_far else 0


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    else:
        read(sys.argv[2], Path(sys.argv[3]), sys.argv[4] == "safe")
