"""What every storage backend offers: whole objects, created once, never replaced."""

import base64
import dataclasses
import enum
import pathlib
from collections.abc import Iterable
from typing import Protocol

import google_crc32c

from t2sql import errors


class Outcome(enum.Enum):
    """What became of a `create`."""

    CREATED = "created"
    SAME = "already there with the same bytes"
    OTHER = "already there with other bytes"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectInfo:
    """One object in a listing.

    Attributes:
      name: path below the storage's URL, with "/" between its parts.
      size: bytes.
      crc32c: checksum as Google Cloud Storage writes it (see `checksum`).
    """

    name: str
    size: int
    crc32c: str


class Storage(Protocol):
    """A directory or bucket prefix that holds named objects.

    Every method raises InputError where the user has to change something (no bucket, no
    permission, read-only), and TryAgainError where the same call may work later.

    Attributes:
      url: what `open_storage` was given, for messages.
    """

    url: str

    def create(self, name: str, data: bytes) -> Outcome:
        """Creates an object whole, durably and only if there is none of this name."""

    def read(self, name: str) -> bytes:
        """Returns the object's bytes; raises FileNotFoundError where there is none."""

    def download(self, name: str, path: pathlib.Path) -> None:
        """Writes the object's bytes to a file; raises FileNotFoundError where there is none."""

    def exists(self, name: str) -> bool:
        """Whether there is an object of this name."""

    def names(self, *prefixes: str) -> set[str]:
        """Returns the names that start with one of the prefixes; cheaper than `list`.

        Without a prefix these are all names. Prefixes may be listed at the same time.
        """

    def list(self, *prefixes: str) -> list[ObjectInfo]:
        """Returns the objects whose names start with one of the prefixes, sorted by name."""

    def delete(self, names: Iterable[str]) -> None:
        """Deletes the objects; those already gone are no error."""


def checksum(data: bytes) -> str:
    """Returns the crc32c of the bytes, big-endian and in base64 as GCS has it."""
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode("ascii")


def check_name(name: str) -> str:
    """Returns the name if it stays below its root on any backend.

    Raises:
      InputError: the name is empty, absolute, leaves its directory or holds a NUL or "\\".
    """
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\0" in name or "\\" in name:
        raise errors.InputError(f"{name!r} cannot be an object's name here")
    return name
