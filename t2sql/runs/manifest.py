"""A run: its fingerprint in `run.json`, its unit objects, and `done.json` after the last.

Everything here is created once and never replaced, so any number of processes may open,
fill and finish the same run at the same time. Only what is broken is taken away, after a copy
of it was made below `broken/`; see `Run.examine`.

`run.json` holds `format_version`, `fingerprint` (what decides the bytes that are written:
compared by every process that joins), `units` and `examples` (how many), and `recorded`
(command, commit, paths, versions and such of the process that began the run: not compared).

`done.json` holds `format_version`, `units`, `examples`, and `objects`: for each unit's name its
`rows`, its `size` in bytes and its `crc32c` (base64, as Cloud Storage gives it). How many rows
have which status is not noted: the host that finishes last knows its own rows only, and would
have to read everyone's; whoever reads the rows, as the report does, counts as they go.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from t2sql import errors
from t2sql import storage as storage_lib
from t2sql.data import prepared
from t2sql.runs import checksums, predictions
from t2sql.runs import units as units_lib
from t2sql.storage import upload

FORMAT_VERSION = 1
# Raised by hand when code changes what is written for the same config, data and weights: of runs
# with one answer to a question, and of those that list candidates.
OUTPUT_VERSION = 2
CANDIDATES_VERSION = 3
_SHOWN = 200  # characters of a value in a message; longer ones are lists
RUN_FILE = "run.json"
DONE_FILE = "done.json"
BROKEN_PREFIX = "broken/"
_ADVICE = {
    RUN_FILE: "choose another output, or start over with --config.overwrite=True",
    DONE_FILE: "delete it and run the same command again, which makes it anew",
}
REDO_ADVICE = "run the same command of t2sql.main with --config.redo=True: it computes them again"
_FIELDS = {
    RUN_FILE: {"fingerprint": dict, "units": int, "examples": int, "recorded": dict},
    DONE_FILE: {"units": int, "examples": int, "objects": dict},
}


class Run:
    """A run that is open for writing.

    Attributes:
      storage: where the run lies.
      units: the whole plan, the same on every host.
      share: the units that this process is dealt.
      taken: names of units that another process wrote while this one computed them.
    """

    def __init__(
        self,
        storage: storage_lib.Storage,
        units: Sequence[units_lib.Unit],
        config: storage_lib.StorageConfig | None = None,
        *,
        index: int = 0,
        count: int = 1,
        redo: bool = False,
    ):
        """Use `Run.open`, which checks the fingerprint."""
        self.storage = storage
        self.units = units
        self.share = units[index::count]
        self.taken: set[str] = set()
        self._index, self._count, self._redo = index, count, redo
        self._notes = checksums.Notes(index, count)
        self._written: dict[str, tuple[int, int, str]] = {}
        config = config or storage_lib.StorageConfig()
        self._uploader = upload.Uploader(storage, config, self._on_outcome)

    @classmethod
    def open(
        cls,
        storage: storage_lib.Storage,
        *,
        units: Sequence[units_lib.Unit],
        fingerprint: Mapping[str, Any],
        recorded: Mapping[str, Any],
        config: storage_lib.StorageConfig | None = None,
        index: int = 0,
        count: int = 1,
        redo: bool = False,
    ) -> "Run":
        """Begins the run, or joins one that has the same fingerprint.

        Args:
          storage: the run directory.
          units: the whole plan.
          fingerprint: what decides which bytes are written: hashes of data and weights,
            adapter, prompt, sampling, dtype, limit, buckets, unit size. `output_version`
            (where it has none) and `plan` (which example lies in which unit) are added here.
          recorded: facts for the reader that are not compared; kept from the first opening.
          config: bounds of the background uploads.
          index: of this process.
          count: of all processes.
          redo: whether units that changed after the run was done are computed again.

        Raises:
          RefusedError: the run there was begun with another fingerprint, or there are
            unit objects without a `run.json`.
          InputError: the `run.json` there cannot be read.
        """
        ours = _manifest(units, fingerprint, recorded)
        there = read_record(storage, RUN_FILE)
        if there is None:
            _refuse_orphans(storage)
            storage.create(RUN_FILE, _encode(ours))
            there = read_record(storage, RUN_FILE)
        _refuse_difference(storage, there, ours)
        return cls(storage, units, config, index=index, count=count, redo=redo)

    def finished(self) -> set[str]:
        """Returns the names of the units whose object exists."""
        names = self.storage.names(*units_lib.listing_prefixes(len(self.units)))
        return names & {unit.name for unit in self.units}

    def examine(self) -> tuple[set[str], dict[str, str]]:
        """Judges the units of this process's share that exist, and sets the broken ones aside.

        A unit is whole if it has the size and checksum that were noted when it was written,
        or, where nothing was noted, if its rows are those of its examples.

        Returns:
          Names of the units of this share that are whole, and what was wrong with each broken
          one, by name.

        Raises:
          RefusedError: units changed after the run was done, and `redo` is not set.
        """
        infos = self._infos(self.share)
        done = read_record(self.storage, DONE_FILE)
        noted = checksums.noted_in(done) or checksums.read(self.storage, self._index, self._count)
        broken = checksums.damage(self.storage, self.share, infos, noted)
        if broken and done and not self._redo:
            name, reason = next(iter(broken.items()))
            raise errors.RefusedError(
                f"{self.storage.url} is done, but {len(broken)} of its units changed since, such "
                f"as {name}: {reason}. To have them whole, {REDO_ADVICE}."
            )
        if broken and done:  # Its checksums of the other units stay known.
            self._set_aside(DONE_FILE, checksums.PREFIX)
        for name in broken:
            self._set_aside(name, BROKEN_PREFIX)
        whole = infos.keys() - broken.keys()
        for unit in self.share:  # What was checked by its rows need not be read again.
            if unit.name in whole and unit.name not in noted:
                info = infos[unit.name]
                self._notes.add(unit.name, len(unit.examples), info.size, info.crc32c)
        return whole, broken

    def write_unit(self, unit: units_lib.Unit, rows: Sequence[predictions.Prediction]) -> None:
        """Writes a unit in the background; `flush` confirms it.

        An object that is there already stays: another launch of the same run was faster.

        Args:
          unit: a unit of the plan.
          rows: a row for each of its examples, in their order.

        Raises:
          Whatever an earlier upload raised.
        """
        expected = [example.example_id for example in unit.examples]
        if [row.example_id for row in rows] != expected:
            raise ValueError(f"the rows for {unit.name} are not its examples in their order")
        data = predictions.encode_rows(rows)
        self._written[unit.name] = (len(rows), len(data), storage_lib.checksum(data))
        self._uploader.put(unit.name, data)
        if note := self._notes.take():
            self._uploader.put(*note)

    def flush(self) -> None:
        """Waits until every unit written is confirmed and noted; raises what an upload raised."""
        self._uploader.flush()
        if note := self._notes.take(last=True):
            self._uploader.put(*note)
            self._uploader.flush()

    def write_done_if_complete(self) -> bool:
        """Confirms all uploads, then writes `done.json` if every unit of the plan is whole.

        Returns:
          Whether the run is complete. All hosts may call this: they write the same bytes.

        Raises:
          RefusedError: a `done.json` lists other objects than those that are there.
          TryAgainError: a unit of this process broke after it was written.
        """
        self.flush()
        if not self.finished() >= {unit.name for unit in self.units}:
            return False
        infos = self._infos(self.units)
        if len(infos) < len(self.units):  # Another host has just set a broken one aside.
            return False
        done = _done_record(self.units, infos)
        if self.storage.exists(DONE_FILE):
            broken = {}  # It has the last word.
        else:
            noted = checksums.read(self.storage)
            broken = checksums.damage(self.storage, self.units, infos, noted)
        for name, reason in broken.items():
            logging.warning("%s is broken: %s", name, reason)
        if own := [unit.name for unit in self.share if unit.name in broken]:
            raise errors.TryAgainError(
                f"{self.storage.url}: {len(own)} units broke since they were written, such as "
                f"{own[0]}: {broken[own[0]]}; run the same command again: it computes them again"
            )
        if broken:  # Their own process computes them again.
            return False
        outcome = self.storage.create(DONE_FILE, _encode(done))
        if outcome is not storage_lib.Outcome.OTHER:
            return True
        noted = (read_record(self.storage, DONE_FILE) or {}).get("objects", {})
        changed = [name for name, entry in done["objects"].items() if noted.get(name) != entry]
        if self._redo and not {unit.name for unit in self.share}.intersection(changed):
            return False  # Their own process is about to compute them again.
        example = f", such as {changed[0]}" if changed else ""
        raise errors.RefusedError(
            f"{self.storage.url}/{DONE_FILE} lists other bytes for {len(changed)} of the "
            f"{len(self.units)} units that are there{example}; they were changed after the run "
            f"was done. To have them whole, {REDO_ADVICE}."
        )

    def _infos(self, units: Sequence[units_lib.Unit]) -> dict[str, storage_lib.ObjectInfo]:
        prefixes = units_lib.listing_prefixes(len(self.units))
        names = {unit.name for unit in units}
        return {info.name: info for info in self.storage.list(*prefixes, only=names)}

    def _set_aside(self, name: str, prefix: str) -> None:
        """Keeps a copy of an object below `prefix` and takes the object away."""
        try:
            data = self.storage.read(name)
        except FileNotFoundError:
            return  # Another launch of this run has done it.
        stem, _, ending = name.rpartition("/")[2].partition(".")
        digest = hashlib.sha256(data).hexdigest()[:8]
        self.storage.create(f"{prefix}{stem}-{digest}.{ending}", data)
        self.storage.withdraw(name, data)

    def _on_outcome(self, name: str, outcome: storage_lib.Outcome) -> None:
        if name not in self._written:
            return  # a note
        if outcome is not storage_lib.Outcome.OTHER:
            self._notes.add(name, *self._written[name])
        if outcome is storage_lib.Outcome.CREATED:
            return
        self.taken.add(name)
        other = outcome is storage_lib.Outcome.OTHER
        if other or len(self.taken) == 1:  # The rest is counted at the end.
            logging.warning(
                "%s was written by another process meanwhile, with %s bytes; theirs stays",
                name,
                "other" if other else "the same",
            )


def delete_run(storage: storage_lib.Storage) -> None:
    """Deletes a run's own objects and nothing else; `run.json` last, so it can be repeated."""
    storage.delete([DONE_FILE])
    storage.delete(filter(units_lib.is_unit_name, sorted(storage.names(units_lib.PREFIX))))
    storage.delete(sorted(storage.names(checksums.PREFIX, BROKEN_PREFIX, prepared.PREFIX)))
    storage.delete([RUN_FILE])


def read_record(storage: storage_lib.Storage, name: str) -> dict[str, Any] | None:
    """Returns `run.json` or `done.json`; None where there is none.

    Raises:
      InputError: it is not JSON, of another format version, or lacks a field.
    """
    where = f"{storage.url}/{name}"
    try:
        record = json.loads(storage.read(name))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise errors.InputError(f"{where}: not JSON: {error}; {_ADVICE[name]}") from error
    version = record.get("format_version") if isinstance(record, dict) else None
    if version != FORMAT_VERSION:
        raise errors.InputError(
            f"{where}: format_version is {version!r}, this program reads {FORMAT_VERSION}; "
            "use the version of t2sql that wrote it"
        )
    for field, kind in _FIELDS[name].items():
        if not isinstance(record.get(field), kind):
            raise errors.InputError(f"{where}: no field {field!r} of type {kind.__name__}")
    for unit, entry in record["objects"].items() if name == DONE_FILE else ():
        if not isinstance(entry, dict) or {"size", "crc32c"} - entry.keys():
            raise errors.InputError(f"{where}: {unit} has no size and crc32c; {_ADVICE[name]}")
    return record


def _manifest(units: Sequence[units_lib.Unit], fingerprint: Mapping, recorded: Mapping) -> dict:
    decisive = {
        **fingerprint,
        "output_version": fingerprint.get("output_version", OUTPUT_VERSION),
        "plan": units_lib.plan_digest(units),
    }
    return {
        "format_version": FORMAT_VERSION,
        "fingerprint": decisive,
        "units": len(units),
        "examples": sum(len(unit.examples) for unit in units),
        "recorded": dict(recorded),
    }


def _refuse_orphans(storage: storage_lib.Storage) -> None:
    """Refuses units that no `run.json` explains (it is always created before the first)."""
    orphans = sorted(filter(units_lib.is_unit_name, storage.names(units_lib.PREFIX)))
    if orphans and not storage.exists(RUN_FILE):
        raise errors.RefusedError(
            f"{storage.url}: {len(orphans)} unit objects such as {orphans[0]} but no {RUN_FILE}; "
            "choose another output, or delete them"
        )


def _refuse_difference(storage: storage_lib.Storage, there: dict, ours: dict) -> None:
    before = dict(_flatten(there["fingerprint"]))
    now = dict(_flatten(json.loads(json.dumps(ours["fingerprint"]))))
    fields = [
        field for field in sorted(before | now) if before.get(field, ...) != now.get(field, ...)
    ]
    # The plan differs with nearly every other field; alone it is worth naming.
    fields = [field for field in fields if field != "plan"] or fields
    if fields:
        lines = "".join(
            f"\n  {field}: the run has {_shown(before, field)}, this job has {_shown(now, field)}"
            for field in fields
        )
        raise errors.RefusedError(
            f"{storage.url} holds a run that was begun differently:{lines}\n"
            "Choose another output, or start over with --config.overwrite=True."
        )


def _flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            yield from _flatten(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner


def _shown(fields: Mapping[str, Any], field: str) -> str:
    text = json.dumps(fields[field]) if field in fields else "nothing"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(fields[field]):,} in all)"


def _done_record(
    units: Sequence[units_lib.Unit], infos: Mapping[str, storage_lib.ObjectInfo]
) -> dict:
    return {
        "format_version": FORMAT_VERSION,
        "units": len(units),
        "examples": sum(len(unit.examples) for unit in units),
        "objects": {
            unit.name: {
                "rows": len(unit.examples),
                "size": infos[unit.name].size,
                "crc32c": infos[unit.name].crc32c,
            }
            for unit in units
        },
    }


def _encode(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode("utf-8")
