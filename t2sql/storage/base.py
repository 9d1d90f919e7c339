"""What every storage backend offers: whole objects, created once, never replaced."""

import base64
import dataclasses
import enum
import pathlib
from collections.abc import Collection, Iterable
from typing import Protocol

import google_crc32c

from t2sql import errors


@dataclasses.dataclass(frozen=True, kw_only=True)
class StorageConfig:
    """How to reach Google Cloud Storage and how long to try; local files use only the uploads.

    Attributes:
      endpoint: URL of the storage service, for a private endpoint; None takes the
        environment's T2SQL_GCS_ENDPOINT, else STORAGE_EMULATOR_HOST (without credentials),
        else Google's own.
      project: project that is billed for requester-pays buckets; None bills the owner.
      request_timeout_s: longest wait for one reply.
      first_delay_s: pause before the second try; each further pause is `multiplier` times longer.
      multiplier: see `first_delay_s`.
      max_delay_s: longest pause between two tries.
      deadline_s: time after which a failing operation is given up.
      upload_threads: uploads under way at once.
      upload_buffer_bytes: results waiting for their upload; the job pauses above this.
    """

    endpoint: str | None = None
    project: str | None = None
    request_timeout_s: float = 60.0
    first_delay_s: float = 1.0
    multiplier: float = 2.0
    max_delay_s: float = 30.0
    deadline_s: float = 300.0
    upload_threads: int = 4
    upload_buffer_bytes: int = 64 << 20


class Outcome(enum.Enum):
    """What became of a `create`."""

    CREATED = "created"
    SAME = "already there with the same bytes"
    OTHER = "already there with other bytes"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)  # there may be millions
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

    def list(self, *prefixes: str, only: Collection[str] | None = None) -> list[ObjectInfo]:
        """Returns the objects whose names start with one of the prefixes, sorted by name.

        Checksums cost a read of each object on local disk: `only` names those that are needed.
        """

    def withdraw(self, name: str, data: bytes) -> bool:
        """Deletes the object if it still holds these bytes; returns whether it did."""

    def delete(self, names: Iterable[str]) -> None:
        """Deletes the objects; a missing one is no error."""


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
