"""What the databases of a bucket say, read once by all hosts of a run together.

Every host needs all schemas: they decide how long the prompts are, and so the plan. But no host
has to read all databases. They are cut into parts, each host reads its share of them, and writes
what prompts need of a part as one object below `prepared/` of the run. Nobody depends on anybody: a
host that has done its share and sees no more parts come does those that are missing itself.

The names hold a hash of the data, of how it is asked for, and of the code that reads it, so that
what was prepared for something else is never used.
"""

import collections
import hashlib
import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any, NamedTuple

from t2sql import storage as storage_lib
from t2sql.data import notices
from t2sql.data.dataset import DataFolder
from t2sql.data.examples import Example
from t2sql.runtime import progress

FORMAT_VERSION = 1
PREFIX = "prepared/"
_MOST_PARTS = 1024  # a page of a listing, and seconds to read
_THREADS = 16
_LEAST_PATIENCE_S = 1.0
_LOOKS = 10  # for parts of others, within the patience

# The examples of one database, in; the same with what the database says, out.
ReadDatabase = Callable[[str, Sequence[Example]], Sequence[Example]]


class _Entry(NamedTuple):
    """What prompts need of one database: its schema's text, and each question's values."""

    definitions: str
    values: Sequence[Sequence[str]]
    notices: Sequence[str]


class Hosts(NamedTuple):
    """Which host of how many this is, and where their run lies."""

    index: int
    count: int
    run: storage_lib.Storage


def key_of(folder: DataFolder, asked: Mapping[str, Any]) -> str | None:
    """A hash of the data and of what is asked of it; None where it is not all in a bucket.

    Args:
      folder: the data set.
      asked: all that decides which examples are read, and how; JSON.
    """
    folders = [folder, folder.more] if folder.more else [folder]
    if not all(one.copy for one in folders):
        return None
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode())
    for one in folders:
        digest.update(f"\n{one.copy.name}\n{one.root.relative_to(one.copy.path)}".encode())
    digest.update(sqlite3.sqlite_version.encode())
    package = Path(__file__).parents[1]
    for source in sorted([*package.glob("data/*.py"), *package.glob("sql/*.py")]):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def with_schemas(
    folder: DataFolder, examples: Sequence[Example], read: ReadDatabase, key: str, hosts: Hosts
) -> list[Example]:
    """The examples with what their databases say, in their order.

    Args:
      folder: the data set.
      examples: of the run, without schemas.
      read: reads one database.
      key: see `key_of`.
      hosts: who share the work.

    Raises:
      What `read` and the storage raise.
    """
    positions: dict[str, list[int]] = collections.defaultdict(list)
    for position, example in enumerate(examples):
        positions[example.db_id].append(position)
    db_ids = list(positions)
    count = min(len(db_ids), _MOST_PARTS)
    parts = {
        f"{PREFIX}{key}-{index:04d}-of-{count:04d}.json": db_ids[index::count]
        for index in range(count)
    }

    def read_part(name: str) -> dict[str, _Entry]:
        return {
            db_id: _read(read, db_id, [examples[position] for position in positions[db_id]])
            for db_id in parts[name]
        }

    complete = list(examples)
    for entries in _Preparation(folder, parts, read_part, hosts).entries():
        for db_id, entry in entries.items():
            for line in entry.notices:
                notices.tell(line)
            for position, values in zip(positions[db_id], entry.values, strict=True):
                complete[position] = examples[position].with_database(
                    entry.definitions, tuple(values)
                )
    return complete


def _read(read: ReadDatabase, db_id: str, asked: Sequence[Example]) -> _Entry:
    told = set(notices.told())
    complete = read(db_id, asked)
    return _Entry(
        definitions=complete[0].db_definitions,
        values=[example.values for example in complete],
        notices=[line for line in notices.told() if line not in told],
    )


class _Preparation:
    """The parts, as this host finds or makes them."""

    def __init__(
        self,
        folder: DataFolder,
        parts: Mapping[str, Sequence[str]],
        read_part: Callable[[str], dict[str, _Entry]],
        hosts: Hosts,
    ):
        self._folder, self._parts, self._read_part, self._hosts = folder, parts, read_part, hosts
        self._pending = set(parts)
        self._prefix = os.path.commonprefix(list(parts))

    def entries(self) -> Iterator[dict[str, _Entry]]:
        """Yields the entries of each part once."""
        yield from self._from_others()
        start = time.monotonic()
        names = list(self._parts)
        own = [
            name for name in names[self._hosts.index :: self._hosts.count] if name in self._pending
        ]
        console = progress.Console(stderr=True)
        self._prefetch(own)
        for name in progress.track(own, console, "reading databases"):
            yield self._make(name)
        patience = max(_LEAST_PATIENCE_S, time.monotonic() - start)
        yield from self._wait(patience)
        # Beginning with the next host's share, at its end: if it is slow, it is at its beginning.
        rest = sorted(self._pending, key=lambda name: self._distance(names.index(name)))
        for name in rest:
            yield from self._from_others()
            if name in self._pending:
                self._prefetch([name])
                yield self._make(name)

    def _distance(self, part: int) -> tuple[int, int]:
        index, count = self._hosts.index, self._hosts.count
        return (part - index) % count, -part

    def _prefetch(self, names: Sequence[str]) -> None:
        self._folder.prefetch(db_id for name in names for db_id in self._parts[name])

    def _wait(self, patience: float) -> Iterator[dict[str, _Entry]]:
        """Yields the parts of others until there is no new one for that many seconds."""
        since = time.monotonic()
        while self._pending and time.monotonic() - since < patience:
            time.sleep(patience / _LOOKS)
            for entries in self._from_others():
                since = time.monotonic()
                yield entries

    def _from_others(self) -> Iterator[dict[str, _Entry]]:
        """Yields the pending parts that are there by now."""
        if not self._pending:
            return
        there = sorted(self._hosts.run.names(self._prefix) & self._pending)
        with futures.ThreadPoolExecutor(_THREADS) as pool:
            for name, data in zip(there, pool.map(self._hosts.run.read, there), strict=True):
                entries = _decode(data, self._parts[name])
                if entries is None:
                    where = f"{self._hosts.run.url}/{name}"
                    logging.warning("%s cannot be read: its databases are read again", where)
                    entries = self._read_part(name)
                self._pending.discard(name)
                yield entries

    def _make(self, name: str) -> dict[str, _Entry]:
        entries = self._read_part(name)
        outcome = self._hosts.run.create(name, _encode(entries))
        self._pending.discard(name)
        if outcome is storage_lib.Outcome.OTHER:  # What is there counts, on every host.
            return _decode(self._hosts.run.read(name), self._parts[name]) or entries
        return entries


def _encode(entries: Mapping[str, _Entry]) -> bytes:
    databases = {db_id: entry._asdict() for db_id, entry in entries.items()}
    return json.dumps({"format_version": FORMAT_VERSION, "databases": databases}).encode()


def _decode(data: bytes, db_ids: Sequence[str]) -> dict[str, _Entry] | None:
    """The entries of a part; None where it is damaged."""
    try:
        databases = json.loads(data)["databases"]
        entries = {db_id: _Entry(**databases[db_id]) for db_id in db_ids}
    except (ValueError, TypeError, KeyError):
        return None
    return entries
