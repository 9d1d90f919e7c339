"""Reading a run back: every unit object, checked, with what is wrong told all at once."""

import concurrent.futures
import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

from t2sql import errors
from t2sql import storage as storage_lib
from t2sql.runs import checksums, manifest, predictions
from t2sql.runs import units as units_lib

_READ_AHEAD = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnitContents:
    """One unit object as it was read.

    Attributes:
      name: the object's name.
      rows: its rows; empty where it is damaged.
      damage: what is wrong with it; None where nothing is.
    """

    name: str
    rows: tuple[predictions.Prediction, ...] = ()
    damage: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunContents:
    """A run as it lies there, finished or not.

    Attributes:
      storage: where it lies.
      manifest: `run.json`.
      done: `done.json`; None while the run is not complete.
      present: names of the units that are there, in their order.
      missing: names of the units that are not.
      foreign: objects below `predictions/` that are no units of this run.
      noted: checksums of the units as they were written.
    """

    storage: storage_lib.Storage
    manifest: dict[str, Any]
    done: dict[str, Any] | None
    present: tuple[str, ...]
    missing: tuple[str, ...]
    foreign: tuple[str, ...]
    noted: checksums.Noted

    def units(self) -> Iterator[UnitContents]:
        """Yields each unit that is present, in its order; holds a few in memory at once.

        Each is compared with its checksum, where that is known, and parsed. A damaged unit is
        yielded with what is wrong, so that one bad object does not hide another.

        Raises:
          InputError, TryAgainError: the storage itself cannot be read.
        """
        with concurrent.futures.ThreadPoolExecutor(_READ_AHEAD) as pool:
            names = iter(self.present)
            pending = [
                pool.submit(self._read, name) for name in itertools.islice(names, _READ_AHEAD)
            ]
            while pending:
                contents = pending.pop(0).result()
                pending.extend(pool.submit(self._read, name) for name in itertools.islice(names, 1))
                yield contents

    def _read(self, name: str) -> UnitContents:
        try:
            data = self.storage.read(name)
        except FileNotFoundError:
            return UnitContents(name=name, damage=f"{name}: deleted while the run was being read")
        if noted := self.noted.get(name):
            where = f"{manifest.DONE_FILE} says" if self.done else "when written it had"
            crc32c = storage_lib.checksum(data)
            if damage := checksums.changed(len(data), crc32c, noted, where):
                return UnitContents(name=name, damage=f"{name}: {damage}")
        try:
            rows = tuple(predictions.decode_rows(data, name=name))
        except errors.InputError as error:
            return UnitContents(name=name, damage=str(error))
        return UnitContents(name=name, rows=rows, damage=None if rows else f"{name}: no rows")


def read_run(url: str, config: storage_lib.StorageConfig | None = None) -> RunContents:
    """Lists a run; its rows are read by `RunContents.units`.

    Raises:
      InputError: there is no `run.json`, or it or `done.json` cannot be read.
    """
    storage = storage_lib.open_storage(url, config)
    record = manifest.read_record(storage, manifest.RUN_FILE)
    if record is None:
        raise errors.InputError(f"{url}: no {manifest.RUN_FILE} there, so this is no run directory")
    expected = [units_lib.unit_name(index, record["units"]) for index in range(record["units"])]
    there = storage.names(units_lib.PREFIX)
    done = manifest.read_record(storage, manifest.DONE_FILE)
    return RunContents(
        storage=storage,
        manifest=record,
        done=done,
        present=tuple(name for name in expected if name in there),
        missing=tuple(name for name in expected if name not in there),
        foreign=tuple(sorted(there.difference(expected))),
        noted=checksums.noted_in(done) or checksums.read(storage),
    )
