"""What a person reads of a wrong URL, and what nobody may read of it."""

from __future__ import annotations

import pytest

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.settings import load_settings


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("PIPELINES_DATABASE_URL", "postgresql://u:pa hush%zz@host/x"),
        ("PIPELINES_DATABASE_URL", "postgresql://u:se#hush@host/x"),
        ("PIPELINES_DATABASE_URL", "postgresql://u:sec@hush@host/x"),
        ("PIPELINES_DATABASE_URL", "mysql://u:hush@host/x"),
        ("PIPELINES_DATABASE_URL", "hush"),
        ("PIPELINES_REDIS_URL", "http://:hush@host"),
    ],
)
def test_a_wrong_url_is_refused_without_a_piece_of_its_password(
    monkeypatch: pytest.MonkeyPatch, variable: str, url: str
) -> None:
    """The line names the variable and the form that is needed, and repeats nothing of the URL."""
    monkeypatch.setenv(variable, url)
    with pytest.raises(PipelinesError, match=f"^{variable}: .*percent-encode the password") as raised:
        load_settings()
    assert "hush" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_catalog_links_to_web_addresses_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that a browser would not follow, or would run, is refused."""
    for url in ("file:///docs/index.html", "javascript:alert(1)", "docs.example"):
        monkeypatch.setenv("PIPELINES_DOCS_URL", url)
        with pytest.raises(PipelinesError, match=r"^PIPELINES_DOCS_URL: .*such as https://docs\.example/"):
            load_settings()
