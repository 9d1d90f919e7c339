"""Checksums of the units as they were written, and what they say about a unit today.

A complete run has them in `done.json`. Until then each process notes those of its own units in
objects below `checksums/`, whose `objects` has the entries of `done.json`. The first note comes
after the first unit, each further one when the number of noted units has doubled, the last when the
process ends: so there are few. Units whose process was killed before its next note have none; they
are checked by their rows.
"""

import collections
import json
import logging
import math
import re
import secrets
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent import futures
from typing import Any

from t2sql import errors
from t2sql import storage as storage_lib
from t2sql.runs import predictions
from t2sql.runs.units import Unit

FORMAT_VERSION = 1
PREFIX = "checksums/"
_NOTE = re.compile(re.escape(PREFIX) + r"(\d+)-of-(\d+)-.*")
_THREADS = 16

# By unit name: (size, crc32c) of what was written; several where several processes wrote it.
Noted = Mapping[str, Collection[tuple[int, str]]]


class Notes:
    """What one process notes of the units that it wrote.

    Args:
      index: of the process.
      count: of all processes.
    """

    def __init__(self, index: int, count: int):
        self._stem = f"{PREFIX}{index:05d}-of-{count:05d}-{secrets.token_hex(4)}"
        self._lock = threading.Lock()
        self._waiting: dict[str, dict[str, Any]] = {}
        self._noted = self._taken = 0

    def add(self, name: str, rows: int, size: int, crc32c: str) -> None:
        """Keeps the entry of a unit for the next note; any thread may call it."""
        with self._lock:
            self._waiting[name] = {"rows": rows, "size": size, "crc32c": crc32c}

    def take(self, *, last: bool = False) -> tuple[str, bytes] | None:
        """Returns name and bytes of the next note, where one is due; the last one always is."""
        with self._lock:
            if len(self._waiting) < (1 if last else max(1, self._noted)):
                return None
            entries, self._waiting = self._waiting, {}
        self._noted += len(entries)
        self._taken += 1
        note = {"format_version": FORMAT_VERSION, "objects": entries}
        return f"{self._stem}-{self._taken:04d}.json", json.dumps(note).encode()


def read(storage: storage_lib.Storage, index: int = 0, count: int = 1) -> Noted:
    """Reads the notes about units that process `index` of `count` is dealt; of all, by default.

    A note that cannot be read is told and left out.
    """

    def concerns(name: str) -> bool:
        # plan[i::k] and plan[j::m] have a unit in common where i and j agree modulo gcd(k, m).
        note = _NOTE.fullmatch(name)
        return not note or (int(note[1]) - index) % math.gcd(int(note[2]), count) == 0

    noted = collections.defaultdict(set)
    with futures.ThreadPoolExecutor(_THREADS) as pool:
        names = sorted(filter(concerns, storage.names(PREFIX)))
        for name, data in zip(names, pool.map(storage.read, names), strict=True):
            try:
                for unit, entry in json.loads(data)["objects"].items():
                    noted[unit].add((entry["size"], entry["crc32c"]))
            except (ValueError, TypeError, KeyError, AttributeError):
                logging.warning(
                    "%s/%s cannot be read: its units are checked by their rows", storage.url, name
                )
    return noted


def noted_in(done: Mapping[str, Any] | None) -> Noted:
    """What `done.json` says; None is one that is not there."""
    entries = (done or {}).get("objects", {})
    return {name: ((entry["size"], entry["crc32c"]),) for name, entry in entries.items()}


def damage(
    storage: storage_lib.Storage,
    units: Sequence[Unit],
    infos: Mapping[str, storage_lib.ObjectInfo],
    noted: Noted,
) -> dict[str, str]:
    """What is wrong with each broken one of the units that exist, by name.

    Args:
      storage: the run; units without a note are read.
      units: to be checked.
      infos: of the objects that exist.
      noted: see `read`.

    Raises:
      TryAgainError: a unit was deleted meanwhile.
    """
    present = [unit for unit in units if unit.name in infos]
    with futures.ThreadPoolExecutor(_THREADS) as pool:
        reasons = pool.map(
            lambda unit: _reason(storage, unit, infos[unit.name], noted.get(unit.name)), present
        )
        return {unit.name: why for unit, why in zip(present, reasons, strict=True) if why}


def changed(size: int, crc32c: str, noted: Iterable[tuple[int, str]], where: str) -> str | None:
    """Says how an object differs from each of its entries; None if it equals one of them."""
    entries = sorted(noted, key=str)
    if (size, crc32c) in entries:
        return None
    before = " or ".join(f"{size} bytes with crc32c {crc32c}" for size, crc32c in entries)
    return (
        f"{size} bytes with crc32c {crc32c}, but {where} {before}; "
        "the object was changed or is corrupted"
    )


def _reason(
    storage: storage_lib.Storage,
    unit: Unit,
    info: storage_lib.ObjectInfo,
    noted: Collection[tuple[int, str]] | None,
) -> str | None:
    if noted:
        return changed(info.size, info.crc32c, noted, "when written it had")
    try:
        rows = predictions.decode_rows(storage.read(unit.name), name=unit.name)
    except FileNotFoundError as error:
        raise errors.TryAgainError(f"{storage.url}/{unit.name} was deleted meanwhile") from error
    except errors.InputError as error:
        return str(error).removeprefix(f"{unit.name}, ")
    expected = [example.example_id for example in unit.examples]
    ids = [row.example_id for row in rows]
    if ids == expected:
        return None
    if not rows:
        return "it is empty"
    missing = sorted(set(expected).difference(ids))
    return f"{len(rows)} rows, which are not those of its {len(expected)} examples" + (
        f" ({missing[0]} is missing)" if missing else ""
    )
