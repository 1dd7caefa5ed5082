"""The settings: the only reader of environment variables.

Defines `Settings` and `load_settings()`. A value comes from, in this order: an environment variable `PIPELINES_<NAME>`,
the file `connection.json` that `pipelines up` writes into the state folder, the default here. Add a setting here when
an operator must be able to choose it; constants of one room belong into that room.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    JsonConfigSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from analytics_pipelines.errors import PipelinesError

PROJECT_FOLDER = Path(__file__).resolve().parent.parent
CONNECTION_FILE = "connection.json"
MASTER_KEYS_FILE = "master.keys"


class _Home(BaseSettings):
    """Where local state is kept; read first, because the connection file lies in it."""

    model_config = SettingsConfigDict(env_prefix="PIPELINES_")
    home: Path = PROJECT_FOLDER / ".pipelines"


class _ConnectionFile(JsonConfigSettingsSource):
    """The URLs of the embedded servers, as `pipelines up` wrote them."""

    def __call__(self) -> dict[str, Any]:
        """Leave out the embedded server's admin login when the environment names another server."""
        values = super().__call__()
        if self.current_state.get("database_url", values.get("database_url")) != values.get("database_url"):
            values.pop("admin_database_url", None)
        return values


class Settings(BaseSettings):
    """Every choice an operator has.

    Attributes:
        home: the state folder: embedded servers, secrets, logs. A relative path is taken from the working folder.
        database_url: the runtime login's `postgresql://` URL; the embedded server's when `pipelines up` made one.
        admin_database_url: the login that migrations run as; the runtime login unless given.
        redis_url: the `redis://` URL of the online store.
        master_key: what wraps the keys of personal data: base64 of 32 bytes, or several as `2:<base64>,1:<base64>`.
        master_keys_file: a file with the same, for use without `master_key`; `master.keys` in the state folder.
        landing_folder: the folder whose files are ingested by the landing sensor; `landing/` in the state folder.
        demo: whether the demo tenants `grocer` and `saas` are part of the lineage.
        ui_port: the port of the Dagster UI on 127.0.0.1.
        docs_url: where browsers find the folder `docs/` of the state folder, for the catalog's link to dbt's
            documentation; where `pipelines up --ui` serves it, if it does.
        pool_size: the most connections one process opens.
        outbox_url: another Postgres, whose outbox table is read; a login that may read that table suffices.
        outbox_table: the table, with its schema if it is not found without.
        outbox_mapping: the mapping file that makes events of its rows.
        outbox_tenant: whose events they are.
        outbox_id_column: the column that tells its rows apart and orders those of one transaction.
        outbox_transaction_column: a column of type xid8 with the default pg_current_xact_id(); with an index on it and
            the id column large tables are read quickly. The system column xmin unless given.
    """

    model_config = SettingsConfigDict(env_prefix="PIPELINES_", extra="ignore")

    home: Path = PROJECT_FOLDER / ".pipelines"
    database_url: SecretStr | None = None
    admin_database_url: SecretStr | None = None
    redis_url: SecretStr | None = None
    master_key: SecretStr | None = None
    master_keys_file: Path | None = None
    landing_folder: Path | None = None
    demo: bool = True
    ui_port: Annotated[int, Field(ge=1, le=65535)] = 3000
    docs_url: str | None = None
    pool_size: Annotated[int, Field(ge=2, le=100)] = 4
    outbox_url: SecretStr | None = None
    outbox_table: str = "outbox"
    outbox_mapping: Path | None = None
    outbox_tenant: str | None = None
    outbox_id_column: str = "id"
    outbox_transaction_column: str | None = None

    @field_validator("home", "landing_folder", "outbox_mapping", "master_keys_file")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().resolve()

    @field_validator("database_url", "admin_database_url", "outbox_url")
    @classmethod
    def _postgres(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not _is_clear(url.get_secret_value(), ("postgresql", "postgres")):
            raise ValueError(
                "not a URL such as postgresql://login:password@host:5432/name; percent-encode the password"
            )
        return url

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not _is_clear(url.get_secret_value(), ("redis", "rediss", "unix")):
            raise ValueError("not a URL such as redis://:password@host:6379/0; percent-encode the password")
        return url

    @field_validator("docs_url")
    @classmethod
    def _web(cls, url: str | None) -> str | None:
        if url is not None and not _is_clear(url, ("http", "https")):
            raise ValueError("not a URL such as https://docs.example/")
        return url

    @property
    def landing(self) -> Path:
        """The folder watched by the landing sensor."""
        return self.landing_folder or self.home / "landing"

    @property
    def docs(self) -> Path:
        """The folder of dbt's documentation; it is published, so nothing else belongs into it."""
        return self.home / "docs"

    @property
    def schemas(self) -> Path:
        """The folder of JSON Schemas that make event types of the user's own known."""
        return self.home / "schemas"

    @property
    def master_keys_path(self) -> Path:
        """The file that holds the master keys where the environment gives none."""
        return self.master_keys_file or self.home / MASTER_KEYS_FILE

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the connection file of the embedded servers below the environment."""
        del dotenv_settings, file_secret_settings
        file = (
            _Home(**{name: value for name, value in init_settings().items() if name == "home"}).home / CONNECTION_FILE
        )
        try:
            return init_settings, env_settings, _ConnectionFile(settings_cls, json_file=file)
        except (OSError, ValueError) as error:
            raise PipelinesError(
                f"{file} cannot be read ({error}); correct its permissions, or remove it and run `pipelines up`: "
                "the data are kept"
            ) from None


def _is_clear(url: str, schemes: tuple[str, ...]) -> bool:
    """Tell whether the parts of a URL are told apart: what read it later would print pieces of the password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    has_space = any(character.isspace() for character in url)
    return parts.scheme in schemes and not parts.fragment and parts.netloc.count("@") <= 1 and not has_space


def load_settings() -> Settings:
    """Read the settings from the environment and the state folder.

    Raises:
        PipelinesError: a value is not of its kind; the line names the variable.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "PIPELINES_" + "_".join(str(part) for part in first["loc"]).upper()
        raise PipelinesError(f"{name}: {first['msg']}; correct the environment variable") from None
