"""API keys: random words, of which only the SHA-256 is kept, under names that may be told."""

from __future__ import annotations

import logging
import os
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from time import monotonic
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from typing_extensions import override

from pullback_service.settings import Quota, Settings

LOOK_EVERY_S = 1.0
"""How soon a change of the file counts."""

SHELF = 2
"""Bytes of a digest by which it is found among many."""

EMPTY = sha256(b"").digest()

ONLY_NAME = "default"
"""The name of the key that is a setting."""

log = logging.getLogger(__name__)

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$")]
Amount = Annotated[int, Field(ge=0, strict=True)]


class BadKeysError(ValueError):
    """The file of keys cannot be used; the sentence tells why, and holds nothing of what might be a key."""


class Holder(NamedTuple):
    """Whoever has a key."""

    name: str
    quota: Quota


class _Entry(BaseModel):
    """One holder's table in the file. Several digests are for while a key is replaced by another."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    sha256: Digest | list[Digest]
    requests_per_second: Amount | None = None
    concurrent_requests: Amount | None = None
    compute_seconds_per_minute: Amount | None = None

    def digests(self) -> list[bytes]:
        return [bytes.fromhex(text) for text in ([self.sha256] if isinstance(self.sha256, str) else self.sha256)]

    def quota(self, otherwise: Quota) -> Quota:
        own = (self.requests_per_second, self.concurrent_requests, self.compute_seconds_per_minute)
        return Quota(*(usual if mine is None else mine for mine, usual in zip(own, otherwise, strict=True)))


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    keys: dict[Name, _Entry] = {}


class Keyring:
    """Digests of keys and who holds them."""

    def __init__(self, held: Iterable[tuple[bytes, Holder]]) -> None:
        """Raises BadKeysError where two have the same key."""
        self._held: defaultdict[bytes, list[tuple[bytes, Holder]]] = defaultdict(list)
        names: dict[bytes, str] = {}
        for digest, holder in held:
            if names.setdefault(digest, holder.name) != holder.name:
                raise BadKeysError(f"{names[digest]} and {holder.name} have the same key")
            self._held[digest[:SHELF]].append((digest, holder))

    @override
    def __str__(self) -> str:
        holders = [holder.name for shelf in self._held.values() for _, holder in shelf]
        return f"{len(holders)} of {len(set(holders))} names" if holders else "none, so that nobody is let in"

    def holder(self, key: bytes) -> Holder | None:
        """Whose key it is. How long that takes tells nothing of it: nobody can choose how a digest begins."""
        digest, found = sha256(key).digest(), None
        for known, holder in self._held.get(digest[:SHELF], ()):
            if compare_digest(known, digest):
                found = holder
        return found


class Keys:
    """The key that is a setting, and those of the file, which is read again when it has changed.

    A file that cannot be read any more leaves the keys as they were: nobody is let in by it, nor locked out.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises BadKeysError."""
        self._quota = settings.quota
        self._path = None if settings.api_keys_file is None else Path(settings.api_keys_file)
        self._own = [] if settings.api_key is None else [self._only(settings.api_key.get_secret_value())]
        self.are_needed = bool(self._own) or self._path is not None
        """Whether there is any, or a file for them: one without keys lets nobody in."""
        self._looked = monotonic()
        self._seen = self._stamp()
        self._ring = self._read()
        if self.are_needed:
            log.info("keys: %s", self._ring)

    def holder(self, key: bytes) -> Holder | None:
        """Whose key it is, as of now."""
        if self._path is not None and monotonic() - self._looked > LOOK_EVERY_S:
            self._look()
        return self._ring.holder(key)

    def _only(self, key: str) -> tuple[bytes, Holder]:
        return sha256(key.encode()).digest(), Holder(ONLY_NAME, self._quota)

    def _look(self) -> None:
        self._looked = monotonic()
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._ring = self._read()
        except BadKeysError as error:
            log.error("the keys stay as they were: %s", error)
        else:
            log.info("the keys were read again: %s", self._ring)

    def _stamp(self) -> object:
        """Other than before when the file is; a mounted secret is replaced as a whole."""
        try:
            found = os.stat(self._path) if self._path is not None else None
        except OSError:
            return None
        return found and (found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size)

    def _read(self) -> Keyring:
        return Keyring([*self._own, *self._filed()])

    def _filed(self) -> Iterator[tuple[bytes, Holder]]:
        if self._path is None:
            return
        for name, entry in _entries(self._path).items():
            if name == ONLY_NAME and self._own:
                raise BadKeysError(f"{self._path}: {name} is the name of the key in PULLBACK_API_KEY")
            holder = Holder(name, entry.quota(self._quota))
            for digest in entry.digests():
                if digest == EMPTY:
                    raise BadKeysError(f"{self._path}: keys.{name}.sha256 is the hash of nothing")
                yield digest, holder


def _entries(path: Path) -> dict[str, _Entry]:
    try:
        return _File.model_validate(tomllib.loads(path.read_text())).keys
    except OSError as error:
        raise BadKeysError(f"PULLBACK_API_KEYS_FILE={path}: {error.strerror} (user {os.getuid()})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadKeysError(f"{path} is no TOML: {error}. Each name has one table, like [keys.alice]") from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise BadKeysError(f"{path}: {'.'.join(map(str, first['loc'][:3]))}: {first['msg']}") from None
