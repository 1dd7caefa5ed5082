"""Personal values, encrypted: the pure part, without a database.

Defines the master keys that the operator holds, the key of one subject, and what a reader gets in place of a value that
it may not or can no longer read. Where keys are kept stands in `vault.py`, which fields are personal in `personal.py`.

A value is sealed with AES-256-GCM under its subject's key. Sealing is deterministic for an event, so that an event sent
again is recognised: the nonce is an HMAC of the event's identity and of all its personal values, with the number of the
field behind. It repeats only where everything else does.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from analytics_pipelines.errors import PipelinesError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from analytics_pipelines.settings import Settings

KEY_BYTES = 32
NONCE_BYTES = 12
SEALED = "$encrypted"
"""The key by which a sealed value is known in a payload; nobody may send it."""
_FORM = "v1"
_MOST_FIELDS = 256
_NUMBERS = [bytes((number,)) for number in range(_MOST_FIELDS)]


class Erased:
    """A personal value that cannot be read any more, because its subject was erased. Falsy; prints as `erased`."""

    def __bool__(self) -> bool:
        """Be as good as no value."""
        return False

    def __str__(self) -> str:
        """Say what happened to the value."""
        return "erased"

    __repr__ = __str__


ERASED: Final = Erased()


class Encrypted:
    """A personal value of `subject` that this process cannot read, because it holds no master key."""

    __slots__ = ("subject",)

    def __init__(self, subject: str) -> None:
        """Say whose it is."""
        self.subject = subject

    def __str__(self) -> str:
        """Say what keeps the value from being read."""
        return "encrypted"


def printable(value: object) -> dict[str, bool]:
    """Say in JSON what stands in place of a personal value; for `default=` of a JSON writer.

    Raises:
        TypeError: it is neither erased nor encrypted.
    """
    if isinstance(value, Erased):
        return {"$erased": True}
    if isinstance(value, Encrypted):
        return {SEALED: True}
    raise TypeError(f"{type(value).__name__} is no JSON value")


class MasterKeyError(PipelinesError):
    """The master key is missing, cannot be read, or is another one: nothing is wrong with what was sent."""


class TamperedError(Exception):
    """What was opened is not what was sealed, or was sealed under another key or at another place."""


class SubjectKey:
    """The key of one subject: seals and opens the personal values of events that are about it."""

    __slots__ = ("_cipher", "_nonce_key")

    def __init__(self, key: bytes) -> None:
        """Take the 256 bits of the key."""
        self._cipher = AESGCM(key)
        self._nonce_key = hashlib.sha256(b"nonce" + key).digest()

    def seal(self, place: tuple[str, str, str], subject: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Seal the personal values of one event, and return what is stored in place of each.

        Args:
            place: tenant, source and id of the event, to which the values are bound.
            subject: whose key this is, written beside the value.
            values: the JSON values by field.
        """
        assert len(values) <= _MOST_FIELDS
        identity = "\0".join(place)
        spoken = identity.encode() + b"\0" + _json(values)
        nonce = hmac.digest(self._nonce_key, spoken, "sha256")[: NONCE_BYTES - 1]
        sealed: dict[str, Any] = {}
        for number, (name, value) in enumerate(values.items()):
            whole = nonce + _NUMBERS[number]
            content = whole + self._cipher.encrypt(whole, _json(value), f"{identity}\0{name}".encode())
            encoded = binascii.b2a_base64(content, newline=False).decode()
            sealed[name] = {SEALED: _FORM, "subject": subject, "value": encoded}
        return sealed

    def open(self, place: tuple[str, str, str], name: str, value: str) -> Any:  # noqa: ANN401 - any JSON value
        """Return the JSON value of a field that `seal` sealed for this very event; decimals keep every digit.

        Raises:
            TamperedError: it is another value, event, field or key.
        """
        identity = "\0".join(place)
        try:
            content = binascii.a2b_base64(value, strict_mode=True)
            text = self._cipher.decrypt(content[:NONCE_BYTES], content[NONCE_BYTES:], f"{identity}\0{name}".encode())
        except (InvalidTag, ValueError):
            raise TamperedError from None
        return orjson.loads(text) if text[:1] == b'"' else json.loads(text, parse_float=Decimal)

    def lock(self, content: bytes, place: str) -> bytes:
        """Encrypt bytes that are kept apart from events, such as those of the quarantine."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, place.encode())

    def unlock(self, content: bytes, place: str) -> bytes:
        """Return what `lock` encrypted for the same place.

        Raises:
            TamperedError: it is something else, or of another key or place.
        """
        try:
            return self._cipher.decrypt(content[:NONCE_BYTES], content[NONCE_BYTES:], place.encode())
        except (InvalidTag, ValueError):
            raise TamperedError from None


class MasterKeys:
    """The operator's keys, by version; the newest one wraps the subjects' keys."""

    def __init__(self, keys: Mapping[int, bytes]) -> None:
        """Take at least one key of 32 bytes."""
        self._ciphers = {version: AESGCM(key) for version, key in keys.items()}
        self.fingerprints = {
            version: hmac.digest(key, b"fingerprint", "sha256")[:8] for version, key in sorted(keys.items())
        }
        self.newest = max(keys)

    def wrap(self, key: bytes, owner: str) -> bytes:
        """Encrypt a subject's key with the newest master key."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._ciphers[self.newest].encrypt(nonce, key, owner.encode())

    def unwrap(self, wrapped: bytes, version: int, owner: str) -> bytes:
        """Return a subject's key.

        Raises:
            MasterKeyError: the master key of that version is missing or is another one.
        """
        cipher = self._ciphers.get(version)
        if cipher is None:
            raise MasterKeyError(
                f"personal data are under master key version {version}, which is not configured; add it to "
                "PIPELINES_MASTER_KEY or to the key file"
            )
        try:
            return cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], owner.encode())
        except InvalidTag:
            raise MasterKeyError(
                f"master key version {version} does not open this database's keys; put back the one it was made with"
            ) from None


def parse_master_keys(text: str, where: str) -> MasterKeys:
    """Read master keys: `[version:]base64` of 32 bytes each, apart by commas or white space; version 1 unless given.

    Raises:
        MasterKeyError: it is something else. The line shows nothing of the text.
    """
    keys: dict[int, bytes] = {}
    for item in text.replace(",", " ").split():
        version, colon, encoded = item.rpartition(":")
        try:
            number, key = int(version) if colon else 1, base64.b64decode(encoded, validate=True)
        except ValueError:
            number, key = 0, b""
        if len(key) != KEY_BYTES or not 1 <= number < 2**15 or number in keys:
            raise MasterKeyError(
                f"{where}: not a master key; give base64 of 32 bytes, such as `openssl rand -base64 32` prints, or "
                "several as 2:<base64>,1:<base64>"
            )
        keys[number] = key
    if not keys:
        raise MasterKeyError(f"{where}: holds no master key; give base64 of 32 bytes")
    return MasterKeys(keys)


def load_master_keys(settings: Settings) -> MasterKeys | None:
    """Return the master keys of the environment or, without one there, of the key file; None where neither is.

    Raises:
        MasterKeyError: there is something else, or the file cannot be read.
    """
    if settings.master_key is not None:
        return parse_master_keys(settings.master_key.get_secret_value(), "PIPELINES_MASTER_KEY")
    path = settings.master_keys_path
    try:
        return parse_master_keys(path.read_text(encoding="ascii"), str(path))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise MasterKeyError(
            f"{path}: the master key cannot be read ({type(error).__name__}); correct the file"
        ) from None


def new_master_key(version: int) -> str:
    """Return a new master key as a line of the key file."""
    return f"{version}:{base64.b64encode(os.urandom(KEY_BYTES)).decode()}\n"


def _json(value: object) -> bytes:
    return orjson.dumps(value, default=_number, option=orjson.OPT_SORT_KEYS)


def _number(value: object) -> orjson.Fragment:
    if isinstance(value, Decimal):
        return orjson.Fragment(str(value))
    raise TypeError(f"{type(value).__name__} is no JSON value")
