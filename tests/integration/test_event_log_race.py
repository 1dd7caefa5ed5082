"""The race: processes that write and read, are killed with -9 and begin again, beside a long transaction elsewhere."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from analytics_pipelines import connections
from analytics_pipelines.event_log import EventStore

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.settings import Settings

IS_FULL = "PROVE" in os.environ
RACER = Path(__file__).with_name("event_log_racer.py")
WRITERS = 8
TRANSACTIONS, MOST_EVENTS = (4_500, 60) if IS_FULL else (80, 4)
KILLS = 60 if IS_FULL else 6
ORDER = """
    select count(*) from (
        select stream_version, row_number() over (partition by stream_id order by position) as number
        from event_log.events) as numbered where stream_version <> number
"""


def positions(memory: Path) -> list[int]:
    """Return what a reader has written down; a line that a kill cut off was not read."""
    text = memory.read_text()
    return [int(line) for line in text[: text.rfind("\n") + 1].splitlines()]


class Racers:
    """The processes of one race, chosen and killed by a seed."""

    def __init__(self, url: str, folder: Path, seed: int) -> None:
        """Start the writers, a safe reader and a naive one."""
        self.url, self.folder, self.seed = url, folder, seed
        self.chance = random.Random(seed)
        self.lives = 0
        for kind in ("safe", "naive"):
            (folder / kind).touch()
        self.readers = {kind: self.reader(kind) for kind in ("safe", "naive")}
        self.writers = [self.writer(TRANSACTIONS) for _ in range(WRITERS)]

    def writer(self, transactions: int) -> subprocess.Popen[bytes]:
        """Start a writer with a seed and identities of its own."""
        self.lives += 1
        return self.start("write", self.url, f"{self.seed}/{self.lives}", str(transactions), str(MOST_EVENTS))

    def reader(self, kind: str) -> subprocess.Popen[bytes]:
        """Start a reader where the last one of its kind ended."""
        return self.start("read", self.url, str(self.folder / kind), kind)

    @staticmethod
    def start(*arguments: str) -> subprocess.Popen[bytes]:
        """Start a process of the race."""
        return subprocess.Popen([sys.executable, str(RACER), *arguments])

    def kill_one(self) -> None:
        """Kill a writer or the safe reader wherever it is, and start another in its place."""
        time.sleep(self.chance.random() * 0.6)
        if self.chance.random() < 0.4:
            self.end(self.readers["safe"])
            self.readers["safe"] = self.reader("safe")
        else:
            number = self.chance.randrange(WRITERS)
            self.end(self.writers[number])
            self.writers[number] = self.writer(TRANSACTIONS // 2)

    def finish(self) -> None:
        """Wait for the writers to end."""
        assert [writer.wait(timeout=1_200) for writer in self.writers] == [0] * WRITERS

    @staticmethod
    def end(process: subprocess.Popen[bytes]) -> None:
        """Kill -9."""
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """Leave no process behind."""
        for process in (*self.readers.values(), *self.writers):
            self.end(process)


@pytest.mark.prove
@pytest.mark.parametrize("seed", [1])
def test_no_event_is_lost_or_doubled_whoever_is_killed(
    database: ConnectionPool, database_settings: Settings, tmp_path: Path, seed: int
) -> None:
    """A reader that is killed again and again reads every committed event once, in order, beside a long transaction.

    Read by "position > highest seen", the same race loses events: the race has teeth.
    """
    store = EventStore(database)
    racers = Racers(connections.database_url(database_settings), tmp_path, seed)
    try:
        with psycopg.connect(connections.admin_url(database_settings)) as stranger:
            stranger.execute("select pg_current_xact_id()")
            for _ in range(KILLS):
                racers.kill_one()
            racers.finish()
            with database.connection() as connection:
                rows = connection.execute("select position from event_log.events order by position").fetchall()
                disordered = connection.execute(ORDER).fetchone()
            committed = [position for (position,) in rows]
            deadline = time.monotonic() + 120
            while positions(tmp_path / "safe")[-1:] != committed[-1:] and time.monotonic() < deadline:
                time.sleep(0.05)
            assert store.settled_position() >= committed[-1], "the stranger holds the cursor back"
    finally:
        racers.stop()
    safe, naive = positions(tmp_path / "safe"), positions(tmp_path / "naive")
    lost = len({position for position in committed if position <= naive[-1]} - set(naive))  # passed, not yet to come
    print(  # noqa: T201
        f"seed {seed}: {len(committed):,} events of {racers.lives} writers, {KILLS} kills; safe reader: "
        f"{len(set(committed) - set(safe))} lost, {len(safe) - len(set(safe))} doubled; naive reader: {lost:,} lost"
    )
    assert safe == committed
    assert disordered == (0,)
    assert lost > 0
