"""A standby is refused: what it shows of the locks of writers says nothing of the primary's."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from analytics_pipelines import connections, migrations
from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import EventStore
from analytics_pipelines.local import platform, ports
from analytics_pipelines.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager


def test_projections_and_subscriptions_refuse_a_standby(
    replicable: Callable[[Path], Settings], standby: Callable[[Path, int], AbstractContextManager[None]]
) -> None:
    """On a server in recovery, settling, reading by position and subscribing fail with what to do; a stream is read."""
    with tempfile.TemporaryDirectory(prefix="pipelines-standby-") as folder:
        Path(folder).chmod(0o711)
        home = Path(folder) / "primary"
        try:
            settings = replicable(home)
            assert settings.database_url is not None
            migrations.migrate(settings)
        finally:
            platform.down(Settings(home=home))
        parts = urlsplit(settings.database_url.get_secret_value())
        port = ports.choose_port()
        url = parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{port}")).geturl()
        of_standby = settings.model_copy(update={"database_url": SecretStr(url)})
        with standby(home / "postgres", port), connections.open_pool(of_standby) as pool:
            store = EventStore(pool)
            for refused in (
                store.settled_position,
                lambda: list(store.read()),
                lambda: list(store.read_arrow()),
                store.subscribe,
                lambda: store.subscription("mail"),
            ):
                with pytest.raises(PipelinesError, match=r"is a standby: .*PIPELINES_DATABASE_URL at the primary"):
                    refused()
            assert list(store.read_stream("acme", "order-1")) == []
