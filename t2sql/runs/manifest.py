"""A run: its fingerprint in `run.json`, its unit objects, and `done.json` after the last.

Everything here is created once and never replaced, so any number of processes may open,
fill and finish the same run at the same time.

`run.json` holds `format_version`, `fingerprint` (what decides the bytes that are written:
compared by every process that joins), `units` and `examples` (how many), and `recorded`
(command, commit, paths, versions and such of the process that began the run: not compared).

`done.json` holds `format_version`, `units`, `examples`, and `objects`: for each unit's name its
`rows`, its `size` in bytes and its `crc32c` (base64, as Cloud Storage gives it). How many rows
have which status is not noted: the host that finishes last knows its own rows only, and would
have to read everyone's; whoever reads the rows, as the report does, counts as they go.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from t2sql import errors
from t2sql import storage as storage_lib
from t2sql.runs import predictions
from t2sql.runs import units as units_lib
from t2sql.storage import upload

FORMAT_VERSION = 1
# Raised by hand when code changes what is written for the same config, data and weights.
OUTPUT_VERSION = 2
_SHOWN = 200  # characters of a value in a message; longer ones are lists
RUN_FILE = "run.json"
DONE_FILE = "done.json"
_FIELDS = {
    RUN_FILE: {"fingerprint": dict, "units": int, "examples": int, "recorded": dict},
    DONE_FILE: {"units": int, "examples": int, "objects": dict},
}


class Run:
    """A run that is open for writing.

    Attributes:
      storage: where the run lies.
      units: the whole plan, the same on every host.
    """

    def __init__(
        self,
        storage: storage_lib.Storage,
        units: Sequence[units_lib.Unit],
        config: storage_lib.StorageConfig | None = None,
    ):
        """Use `Run.open`, which checks the fingerprint."""
        self.storage = storage
        self.units = units
        config = config or storage_lib.StorageConfig()
        self._uploader = upload.Uploader(storage, config, _warn_of_other_bytes)

    @classmethod
    def open(
        cls,
        storage: storage_lib.Storage,
        *,
        units: Sequence[units_lib.Unit],
        fingerprint: Mapping[str, Any],
        recorded: Mapping[str, Any],
        config: storage_lib.StorageConfig | None = None,
    ) -> "Run":
        """Begins the run, or joins one that has the same fingerprint.

        Args:
          storage: the run directory.
          units: the whole plan.
          fingerprint: what decides which bytes are written: hashes of data and weights,
            adapter, prompt, sampling, dtype, limit, buckets, unit size. `output_version`
            and `plan` (which example lies in which unit) are added here.
          recorded: facts for the reader that are not compared; kept from the first opening.
          config: bounds of the background uploads.

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
        return cls(storage, units, config)

    def finished(self) -> set[str]:
        """Returns the names of the units whose object exists."""
        names = self.storage.names(*units_lib.listing_prefixes(len(self.units)))
        return names & {unit.name for unit in self.units}

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
        self._uploader.put(unit.name, predictions.encode_rows(rows))

    def flush(self) -> None:
        """Waits until every unit written is confirmed; raises what an upload raised."""
        self._uploader.flush()

    def write_done_if_complete(self) -> bool:
        """Confirms all uploads, then writes `done.json` if every unit of the plan exists.

        Returns:
          Whether the run is complete. All hosts may call this: they write the same bytes.

        Raises:
          RefusedError: a `done.json` lists other objects than those that are there.
        """
        self.flush()
        if not self.finished() >= {unit.name for unit in self.units}:
            return False
        prefixes = units_lib.listing_prefixes(len(self.units))
        infos = {info.name: info for info in self.storage.list(*prefixes)}
        done = _done_record(self.units, infos)
        outcome = self.storage.create(DONE_FILE, _encode(done))
        if outcome is storage_lib.Outcome.OTHER:
            _refuse_other_done(self.storage, done)
        return True


def delete_run(storage: storage_lib.Storage) -> None:
    """Deletes a run's own objects and nothing else; `run.json` last, so it can be repeated."""
    storage.delete([DONE_FILE])
    storage.delete(filter(units_lib.is_unit_name, sorted(storage.names(units_lib.PREFIX))))
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
        raise errors.InputError(f"{where}: not JSON: {error}") from error
    version = record.get("format_version") if isinstance(record, dict) else None
    if version != FORMAT_VERSION:
        raise errors.InputError(
            f"{where}: format_version is {version!r}, this program reads {FORMAT_VERSION}; "
            "use the version of t2sql that wrote it"
        )
    for field, kind in _FIELDS[name].items():
        if not isinstance(record.get(field), kind):
            raise errors.InputError(f"{where}: no field {field!r} of type {kind.__name__}")
    return record


def _manifest(units: Sequence[units_lib.Unit], fingerprint: Mapping, recorded: Mapping) -> dict:
    decisive = {
        **fingerprint,
        "output_version": OUTPUT_VERSION,
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


def _refuse_other_done(storage: storage_lib.Storage, done: dict) -> None:
    noted = (read_record(storage, DONE_FILE) or {}).get("objects", {})
    changed = [name for name, entry in done["objects"].items() if noted.get(name) != entry]
    example = f", such as {changed[0]}" if changed else ""
    raise errors.RefusedError(
        f"{storage.url}/{DONE_FILE} lists other bytes for {len(changed)} of the "
        f"{len(done['objects'])} units that are there{example}; they were changed after the run "
        f"was done. If you meant to, delete {DONE_FILE} and run the same command again."
    )


def _encode(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode("utf-8")


def _warn_of_other_bytes(name: str, outcome: storage_lib.Outcome) -> None:
    if outcome is storage_lib.Outcome.OTHER:
        logging.warning(
            "%s was written by another process meanwhile, with other bytes; theirs stays", name
        )
