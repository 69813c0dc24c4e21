"""A message as it leaves a process: in the layer's serializer format and, with keys, encrypted."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson
from django.utils.module_loading import import_string

from raceway.conf import did_you_mean
from raceway.errors import ConfigurationError
from raceway.layers.spec import _at as at
from raceway.layers.spec import client_event, decode_event, pack, prepare, unpack
from raceway.registry import Message

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

logger = logging.getLogger("raceway.layers")

FORMATS: Final = ("msgpack", "json")

SALT_BYTES: Final = 16
NONCE_BYTES: Final = 12
MESSAGES_PER_SALT: Final = 2**20
"""Far below the 2**32 messages that one key may encrypt with random nonces (NIST SP 800-38D, section 8.3)."""
KEPT_CIPHERS: Final = 4096
"""Salts of other processes whose keys are remembered; a process makes a new one every ``MESSAGES_PER_SALT``."""


class Serializer(Protocol):
    """What ``serializer_format`` may be besides its two names: ``loads(dumps(event))`` gives an equal event."""

    def dumps(self, event: dict[str, Any], /) -> bytes:
        """Raises ``TypeError``, at the sender, for what the format does not know."""

    def loads(self, data: bytes, /) -> dict[str, Any]: ...


class Seal:
    """Turn messages into the bytes that a backend carries, and back.

    With ``symmetric_encryption_keys``, secrets of any length, the first encrypts and each decrypts, so that a key is
    replaced by putting the new one first, and taking the old one away when no process uses it. ``serializer_format``
    is ``msgpack``, which carries client messages as they are; ``json``; or an object, or the dotted path of one, with
    ``dumps`` and ``loads``. Clocks do not matter. Usable from any thread. Raises ``ConfigurationError``.
    """

    def __init__(
        self,
        symmetric_encryption_keys: Iterable[str | bytes] = (),
        serializer_format: str | Serializer = "msgpack",
    ) -> None:
        self._serializer = serializer_of(serializer_format)
        keys = require_keys(symmetric_encryption_keys)
        self._box = Box(keys) if keys else None
        self.unreadable_count = 0
        """What came from other processes and could not be decrypted or read."""

    def seal(self, message: Message) -> bytes:
        """Raises ``TypeError`` for what the format does not know."""
        data = pack(message) if self._serializer is None else dumped(self._serializer, message)
        return data if self._box is None else self._box.encrypt(data)

    def unseal(self, data: bytes) -> Message:
        """What ``seal`` was given. Raises ``ValueError`` for what this layer has not sealed; that is counted, and
        said in the log the first time.
        """
        try:
            opened = data if self._box is None else self._box.decrypt(data)
            return unpack(opened) if self._serializer is None else loaded(self._serializer, opened)
        except ValueError as error:
            if not self.unreadable_count:
                logger.error(
                    "A message from another process cannot be read, and is dropped: %s. Further ones are counted only. "
                    "Do all processes have the same symmetric_encryption_keys and serializer_format?",
                    error,
                )
            self.unreadable_count += 1
            raise


# Encryption


class Box:
    """Authenticated encryption by AES-256-GCM under the first of ``keys``.

    A process derives a key of its own from a random salt (HKDF, RFC 5869), which each message begins with; then come
    a random nonce and the ciphertext. So neither clocks nor counters matter, nor whether a process has forked.
    """

    def __init__(self, keys: list[bytes]) -> None:
        self._keys = keys
        self._make_cipher = cipher_maker()
        self._ciphers: dict[bytes, AESGCM] = {}
        self._left = 0
        self._own: tuple[bytes, AESGCM]

    def encrypt(self, data: bytes) -> bytes:
        if self._left <= 0:
            salt = os.urandom(SALT_BYTES)
            self._own = salt, self._make_cipher(self._keys[0], salt)
            self._left = MESSAGES_PER_SALT
        self._left -= 1
        salt, cipher = self._own
        nonce = os.urandom(NONCE_BYTES)
        return salt + nonce + cipher.encrypt(nonce, data, None)

    def decrypt(self, sealed: bytes) -> bytes:
        """Raises ``ValueError`` for what none of the keys has encrypted."""
        from cryptography.exceptions import InvalidTag

        salt, rest = sealed[:SALT_BYTES], sealed[SALT_BYTES:]
        known = self._ciphers.get(salt)
        for cipher in (self._make_cipher(key, salt) for key in self._keys) if known is None else (known,):
            try:
                data = cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], None)
            except (InvalidTag, ValueError):
                continue
            if known is None:  # only a salt that has proved to be genuine
                self._remember(salt, cipher)
            return data
        raise ValueError("none of symmetric_encryption_keys has encrypted it")

    def _remember(self, salt: bytes, cipher: AESGCM) -> None:
        if len(self._ciphers) >= KEPT_CIPHERS:
            self._ciphers.clear()
        self._ciphers[salt] = cipher


def cipher_maker() -> Callable[[bytes, bytes], AESGCM]:
    """What makes the cipher for a key and a salt. Raises ``ConfigurationError`` without the library."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ImportError:
        raise ConfigurationError(
            "symmetric_encryption_keys needs the library cryptography: pip install raceway[encryption]"
        ) from None

    def make(key: bytes, salt: bytes) -> AESGCM:
        return AESGCM(HKDF(SHA256(), length=32, salt=salt, info=b"raceway channel layer").derive(key))

    return make


def require_keys(keys: Iterable[str | bytes]) -> list[bytes]:
    """The secrets as bytes. Raises ``ConfigurationError`` for anything but a list of them."""
    if isinstance(keys, str | bytes) or not isinstance(keys, Iterable):
        raise ConfigurationError(
            "symmetric_encryption_keys is a list of keys; a single one is a list of one, [key]."
        )
    required = []
    for number, key in enumerate(keys):
        if not isinstance(key, str | bytes) or not key:
            raise ConfigurationError(f"symmetric_encryption_keys[{number}] is a str or bytes, and not empty.")
        required.append(key.encode() if isinstance(key, str) else key)
    return required


# Formats


def serializer_of(serializer_format: object) -> Serializer | None:
    """The object that writes and reads events, or ``None`` for MessagePack, in which they come."""
    if serializer_format == "msgpack":
        return None
    if serializer_format == "json":
        return Json()
    found = serializer_format
    if isinstance(found, str):
        if "." not in found:
            raise ConfigurationError(
                f"serializer_format {found!r} is neither a dotted path nor one of {', '.join(FORMATS)}"
                f"{did_you_mean(found, FORMATS)}"
            )
        found = imported(found)
    if isinstance(found, type):
        found = found()
    for name in ("dumps", "loads"):
        if not callable(getattr(found, name, None)):
            raise ConfigurationError(f"serializer_format {serializer_format!r} has no function {name}.")
    return found  # type: ignore[return-value]


def imported(path: str) -> object:
    try:
        return import_module(path)
    except ImportError:
        try:
            return import_string(path)
        except ImportError as error:
            raise ConfigurationError(f"serializer_format {path!r} cannot be imported: {error}") from error


class Json:
    """JSON, for other programs that read along. It has neither bytes, keys that are numbers, nor NaN and infinities."""

    def dumps(self, event: dict[str, Any]) -> bytes:
        require_json(event, ())
        return orjson.dumps(event)

    def loads(self, data: bytes) -> Any:
        return orjson.loads(data)


def require_json(value: object, path: tuple[object, ...]) -> None:
    """Raise ``TypeError`` with the key path of what would come back as something else."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(
                    f"The message cannot be sent: {at(path)} has the key {key!r}; in JSON keys are str"
                )
            require_json(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            require_json(item, (*path, number))
    elif isinstance(value, bytes) or (isinstance(value, float) and not math.isfinite(value)):
        raise TypeError(
            f"The message cannot be sent: {at(path)} is {value!r:.40}, for which JSON has no form"
        )


def dumped(serializer: Serializer, message: Message) -> bytes:
    event = decode_event(message) if isinstance(message, bytes) else client_event(message)
    data = serializer.dumps(event)  # type: ignore[arg-type]
    if not isinstance(data, bytes):
        raise TypeError(f"The dumps of serializer_format returns bytes, not {type(data).__qualname__}.")
    return data


def loaded(serializer: Serializer, data: bytes) -> Message:
    """Raises ``ValueError``, whatever ``loads`` raises: the data come from outside."""
    try:
        return prepare(serializer.loads(data))
    except Exception as error:
        raise ValueError(f"serializer_format cannot read it: {error!r}") from error
