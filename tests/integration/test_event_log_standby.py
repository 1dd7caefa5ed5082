"""A standby is refused: what it shows of the locks of writers says nothing of the primary's."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from pydantic import SecretStr

from analytics_pipelines import connections, migrations
from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import EventStore
from analytics_pipelines.local import accounts, platform, ports
from analytics_pipelines.settings import Settings


def test_projections_and_subscriptions_refuse_a_standby() -> None:
    """On a server in recovery, settling, reading by position and subscribing fail with what to do; a stream is read."""
    with tempfile.TemporaryDirectory(prefix="pipelines-standby-") as folder:
        Path(folder).chmod(0o711)
        home = Path(folder) / "primary"
        try:
            settings = platform.up(Settings(home=home))
            assert settings.admin_database_url is not None
            assert settings.database_url is not None
            with psycopg.connect(settings.admin_database_url.get_secret_value(), autocommit=True) as admin:
                admin.execute("alter system set wal_level = 'replica'")
            platform.down(Settings(home=home))
            migrations.migrate(platform.up(Settings(home=home)))
        finally:
            platform.down(Settings(home=home))
        account = accounts.server_account(home / "postgres")
        data = (home / "postgres").resolve() / "data"
        (data / "standby.signal").touch()
        if account is not None:
            shutil.chown(data / "standby.signal", account.pw_uid, account.pw_gid)
        port = ports.choose_port()
        command = [str(accounts.reachable_binaries(account) / "postgres"), "-D", str(data), "-p", str(port)]
        with subprocess.Popen(
            command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **accounts.as_user(account)
        ) as server:
            try:
                parts = urlsplit(settings.database_url.get_secret_value())
                url = parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{port}")).geturl()
                standby = settings.model_copy(update={"database_url": SecretStr(url)})
                deadline = time.monotonic() + 60
                lock = data / "postmaster.pid"
                while not (lock.exists() and lock.read_text().rstrip().endswith("ready")):
                    assert server.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
                with connections.open_pool(standby) as pool:
                    store = EventStore(pool)
                    for refused in (
                        store.settled_position,
                        lambda: list(store.read()),
                        lambda: list(store.read_arrow()),
                        store.subscribe,
                        lambda: store.subscription("mail"),
                    ):
                        with pytest.raises(
                            PipelinesError, match=r"is a standby: .*PIPELINES_DATABASE_URL at the primary"
                        ):
                            refused()
                    assert list(store.read_stream("acme", "order-1")) == []
            finally:
                server.terminate()
