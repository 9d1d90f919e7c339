"""Kills and faults at random moments, on local disk and in a bucket, with every unit counted.

    python -m benchmarks.random_faults --faults=1000

Runs of one to four processes that do all of a job but the model's work: they answer what the dummy
model answered once. Processes are killed and terminated, requests to the bucket (a server on
loopback, the tests' own) fail, and between two starts units, notes of checksums and `done.json` are
cut, emptied, changed and deleted. Each run is begun again until it is done. Then every unit has to
hold the bytes that an undisturbed run wrote, so every example is there once.
"""

import collections
import contextlib
import dataclasses
import json
import multiprocessing
import os
import pathlib
import random
import signal
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator, Sequence
from unittest import mock

from absl import flags, logging

from t2sql import config as config_lib
from t2sql import errors, storage
from t2sql.runs import checksums, job, manifest, predict, predictions, reader
from t2sql.runtime import cli, distributed, signals
from tests import fault_proxy, gcs_server
from tests.launch import pods

_FAULTS = flags.DEFINE_integer("faults", 1000, "Kills and damages, half of them on each storage.")
_SEED = flags.DEFINE_integer("seed", 0, "Of all that is random but the machine's own timing.")
_REQUEST_FAULTS = flags.DEFINE_float("request_faults", 0.02, "Share of requests that fail.")

_MOST_STARTS = 60  # of one run; more would mean that it never ends
_SECONDS_A_UNIT = 0.01
_STORAGE = {"first_delay_s": 0.01, "max_delay_s": 0.1, "deadline_s": 20.0, "request_timeout_s": 2.0}
_REQUEST_KINDS = (
    fault_proxy.Fault.STATUS_429,
    fault_proxy.Fault.STATUS_503,
    fault_proxy.Fault.RESET_BEFORE,
    fault_proxy.Fault.RESET_AFTER,
    fault_proxy.Fault.LOST_REPLY,
    fault_proxy.Fault.TRUNCATED_REPLY,
)
_TRY_AGAIN = errors.TryAgainError.exit_code
_REFUSED = errors.RefusedError.exit_code
_BAD_INPUT = errors.InputError.exit_code

Rows = dict[str, list[predictions.Prediction]]


def main(argv: Sequence[str]) -> None:
    """Prints what was done to the runs of each storage, and what is there at their ends."""
    del argv
    logging.set_verbosity(logging.ERROR)  # not each request that is tried again
    with tempfile.TemporaryDirectory() as folder, _bucket() as (bucket, request_faults):
        root = pathlib.Path(folder)
        pods.write_data(root / "data")
        expected = _undisturbed(root)
        for where in (str(root / "runs"), bucket):
            trial = _Trial(where, root, expected, random.Random(_SEED.value))
            start = time.monotonic()
            trial.run(_FAULTS.value // 2)
            done = ", ".join(f"{count} x {what}" for what, count in trial.counts.most_common())
            print(f"{where.partition(':')[0] if '://' in where else 'local disk'}: {done}")
            print(
                f"  {trial.runs} runs of {len(expected)} units, {trial.starts} starts of 1 to 4 "
                f"processes, {time.monotonic() - start:.0f} s; at their ends every unit was there, "
                f"with the bytes of an undisturbed run: {trial.runs * pods.EXAMPLES:,} examples, "
                "none missing, none twice"
            )
        print(f"{request_faults.value} requests to the bucket failed besides")


def _config(root: pathlib.Path, output: str, **values):
    config = config_lib.default_config()
    config.data.path = str(root / "data")
    config.model.name, config.model.source = "dummy", "dummy:0"
    config.prompt, config.unit_size, config.batch_size = "completion", 2, 8
    config.sampling.max_new_tokens = 8
    config.prompt_buckets = (64, 128)
    config.compilation_cache, config.cache_dir = "", str(root / "cache")
    config.output = output
    config.storage.update(_STORAGE)
    config.update_from_flattened_dict(values)
    return config


def _undisturbed(root: pathlib.Path) -> Rows:
    """The rows of each unit by its name, from the real job with the dummy model."""
    output = str(root / "undisturbed")
    # A process of its own: this one is forked later, which JAX's threads would not survive.
    child = _fork(lambda: job.run(_config(root, output), _watch()), root / "log")
    if code := child.wait():
        raise RuntimeError(f"exit code {code}: {child.log.read_text()}")
    return {unit.name: list(unit.rows) for unit in reader.read_run(output).units()}


def _watch() -> signals.TerminationWatch:
    watch = signals.TerminationWatch(grace_seconds=20)
    watch.start()
    return watch


@dataclasses.dataclass(frozen=True)
class _Child:
    """A forked process.

    Attributes:
      pid: of the process.
      log: what it prints.
    """

    pid: int
    log: pathlib.Path

    def wait(self) -> int:
        """The exit code; -9 where it was killed."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)


def _fork(work: Callable[[], None], log: pathlib.Path) -> _Child:
    pid = os.fork()
    if pid:
        return _Child(pid, log)
    code = 1
    try:
        with log.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        signals.hold()
        work()
        code = 0
    except errors.T2SQLError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except signals.Terminated:
        code = signals.EXIT_TERMINATED
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _replayed(rows: Rows, seconds: float) -> Iterator[None]:
    """Puts answers that are known in the place of the model's."""

    def answer(sampler, groups, prompt, *, on_finished, on_step):
        for group in groups:
            on_step()
            time.sleep(seconds)
            yield group.tag, rows[group.tag.name]

    sampler = types.SimpleNamespace(
        batch_size=8, compile_count=0, compile_seconds=0.0, counters=None
    )
    programs = types.SimpleNamespace(close=lambda: None)
    stack = contextlib.ExitStack()
    load = mock.patch.object(predict, "load_sampler", lambda *args: (sampler, programs))
    stack.enter_context(load)
    stack.enter_context(mock.patch.object(predict, "predict", answer))
    return stack


class _Trial:
    """Runs below one place, disturbed until there were enough faults.

    Attributes:
      counts: what was done, by kind.
      runs: how many are done.
      starts: of pods.
    """

    def __init__(self, where: str, root: pathlib.Path, rows: Rows, chance: random.Random):
        self.counts: collections.Counter[str] = collections.Counter()
        self.runs = self.starts = 0
        self._where, self._root, self._rows, self._chance = where, root, rows, chance
        self._expected = {name: predictions.encode_rows(rows[name]) for name in rows}
        self._seconds = 1.0  # that a pod takes; measured as it goes
        self._history: list[str] = []  # of the run

    def run(self, faults: int) -> None:
        """Disturbs runs until that many faults have happened, and ends the last one in peace."""
        while self.counts.total() < faults:
            output = f"{self._where}/{self.runs:04d}"
            run = storage.open_storage(output, storage.StorageConfig(**_STORAGE))
            starts = 0
            self._history.clear()
            while not self._is_done(output, run, disturbed=self.counts.total() < faults):
                starts += 1
                if starts > _MOST_STARTS:
                    raise RuntimeError(f"{output} is not done after {starts} starts")
            self._check(run)
            self.runs += 1

    def _is_done(self, output: str, run: storage.Storage, *, disturbed: bool) -> bool:
        """Starts the pod once more; whether the run is done and stays undisturbed."""
        refused = self._refusal(run)
        codes = self._start(output, disturbed=disturbed and not refused)
        if refused:
            codes = self._follow_advice(output, run, refused, codes)
        if disturbed and self._chance.random() < 0.6:
            self._damage(output, run)
            return False
        return not any(codes) and run.exists(manifest.DONE_FILE)

    def _refusal(self, run: storage.Storage) -> int:
        """The exit code with which a start has to refuse the run as it is now; 0 if none."""
        try:
            done = manifest.read_record(run, manifest.DONE_FILE)
        except errors.InputError:
            return _BAD_INPUT
        if not done:
            return 0
        return _REFUSED if self._wrong_units(run) else 0

    def _wrong_units(self, run: storage.Storage) -> list[str]:
        """The units that are there with other bytes than an undisturbed run writes."""
        names = sorted(run.names("predictions/"))
        return [name for name in names if run.read(name) != self._expected[name]]

    def _follow_advice(
        self, output: str, run: storage.Storage, refused: int, codes: Sequence[int]
    ) -> list[int]:
        if refused not in codes:
            raise RuntimeError(f"{output}: exit codes {codes}, one has to be {refused}")
        if refused == _BAD_INPUT:
            run.delete([manifest.DONE_FILE])
        return self._start(output, disturbed=False, redo=refused == _REFUSED)

    def _start(self, output: str, *, disturbed: bool, **values) -> list[int]:
        """Runs a pod to its end, killing and terminating some of it; returns the exit codes."""
        count = self._chance.randint(1, 4)
        self.starts += 1
        start = time.monotonic()
        children = [self._host(output, index, count, values) for index in range(count)]
        struck: set[int] = set()
        if disturbed and self._chance.random() < 0.8:
            time.sleep(self._chance.uniform(0.0, 1.1) * self._seconds)
            struck = self._strike(children)
        codes = [child.wait() for child in children]
        if not struck and not values:
            self._seconds = 0.8 * self._seconds + 0.2 * (time.monotonic() - start)
        for index, (child, code) in enumerate(zip(children, codes, strict=True)):
            ends = {0, _TRY_AGAIN, _REFUSED, _BAD_INPUT}
            if index in struck:
                ends |= {-signal.SIGKILL, -signal.SIGTERM, signals.EXIT_TERMINATED}
            if code not in ends or disturbed and code in (_REFUSED, _BAD_INPUT):
                raise RuntimeError(f"{output}: exit code {code}: {child.log.read_text()}")
        return codes

    def _host(self, output: str, index: int, count: int, values: dict) -> _Child:
        config = _config(self._root, output, **values)
        process = distributed.Process(index=index, count=count)

        def work() -> None:
            with _replayed(self._rows, _SECONDS_A_UNIT):
                job.run(config, _watch(), process)

        return _fork(work, self._root / f"log-{index}")

    def _strike(self, children: Sequence[_Child]) -> set[int]:
        """Kills one process or all of them, or terminates one."""
        victim = self._chance.randrange(len(children))
        what = self._chance.choice(("a process killed", "all killed", "a process terminated"))
        victims = set(range(len(children))) if what == "all killed" else {victim}
        for index in victims:
            number = signal.SIGTERM if what.endswith("terminated") else signal.SIGKILL
            children[index].signal(number)
        self._count(what, sorted(victims))
        return victims

    def _damage(self, output: str, run: storage.Storage) -> None:
        """Does to one object what disks and people do."""
        noted = checksums.noted_in(self._done(run)) or checksums.read(run)
        names = sorted(run.names("predictions/", checksums.PREFIX, manifest.DONE_FILE))
        if self._wrong_units(run):  # Only a checksum tells a letter that changed: it stays.
            names = [name for name in names if name in self._expected]
        if not names:
            return
        name = self._chance.choice(names)
        data = run.read(name)
        kinds = {"cut": data[: self._chance.randrange(len(data))] if data else b"", "emptied": b""}
        if name in noted and data:  # A letter that changes is seen by the checksum only.
            at = self._chance.randrange(len(data))
            kinds["changed"] = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        if name in self._expected and data:
            kinds["without a row"] = data[data.index(b"\n") + 1 :] if b"\n" in data else b""
        kind = self._chance.choice([*kinds, "deleted"])
        thing = {"p": "a unit", "c": "a note", "d": "done.json"}[name[0]]
        _replace(output, run, name, kinds.get(kind))
        self._count(f"{thing} {kind}", name)

    def _count(self, what: str, where: object) -> None:
        self.counts[what] += 1
        self._history.append(f"{what}: {where}")

    def _done(self, run: storage.Storage) -> dict | None:
        with contextlib.suppress(errors.InputError):
            return manifest.read_record(run, manifest.DONE_FILE)
        return None

    def _check(self, run: storage.Storage) -> None:
        """Raises where a unit of a run that is done is not what an undisturbed run wrote."""
        there = {name: run.read(name) for name in run.names("predictions/")}
        if there != self._expected:
            wrong = [name for name in self._expected if there.get(name) != self._expected[name]]
            raise RuntimeError(
                f"{run.url}: {len(wrong)} units are missing or wrong: {wrong[:3]}; "
                f"what was done to the run: {'; '.join(self._history)}"
            )
        entries = json.loads(run.read(manifest.DONE_FILE))["objects"]
        sums = {name: storage.checksum(data) for name, data in there.items()}
        if {name: entry["crc32c"] for name, entry in entries.items()} != sums:
            raise RuntimeError(f"{run.url}: done.json lists other checksums")


def _replace(output: str, run: storage.Storage, name: str, data: bytes | None) -> None:
    if data is not None and "://" not in output:
        pathlib.Path(output, name).write_bytes(data)
        return
    run.delete([name])
    if data is not None:
        run.create(name, data)


@contextlib.contextmanager
def _bucket():
    """A bucket whose requests fail at times, and how often they have."""
    failed = multiprocessing.Value("i", 0)
    with gcs_server.running() as server:
        server.make_bucket("random-faults")
        receiver, sender = multiprocessing.Pipe(duplex=False)
        arguments = (server.url, sender, failed, _SEED.value, _REQUEST_FAULTS.value)
        proxy = multiprocessing.Process(target=_serve_faults, args=arguments, daemon=True)
        proxy.start()
        os.environ["STORAGE_EMULATOR_HOST"] = receiver.recv()
        try:
            yield "gs://random-faults", failed
        finally:
            proxy.terminate()


def _serve_faults(upstream: str, sender, failed, seed: int, share: float) -> None:
    chance = random.Random(seed)

    def choose(request: fault_proxy.Request) -> fault_proxy.Fault:
        if chance.random() >= share:
            return fault_proxy.Fault.NONE
        failed.value += 1
        return chance.choice(_REQUEST_KINDS)

    with fault_proxy.running(upstream, choose) as proxy:
        sender.send(proxy.url)
        while True:
            proxy.seen.clear()
            time.sleep(10)


if __name__ == "__main__":
    cli.run(main)
