"""A run at scale: the real planner and storage layer, with a sampled model of time.

    python -m benchmarks.scale --examples=10000000 --hosts=256

What is measured runs here for real: planning, and the storage layer against a service on
loopback that sleeps as `simulated_gcs` assumes. What is simulated is printed as such: hosts
that compute at an assumed rate and upload through threads as the real uploader does.
Expect about 8 minutes and 6 GB of memory for the example above on one core.
"""

import concurrent.futures
import dataclasses
import gc
import heapq
import json
import os
import random
import resource
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Sequence

from absl import flags

from benchmarks import simulated_gcs
from t2sql import storage
from t2sql.runs import checksums, manifest, predictions, reader, units
from t2sql.runtime import cli

_EXAMPLES = flags.DEFINE_integer("examples", 10_000_000, "Examples of the run.")
_HOSTS = flags.DEFINE_integer("hosts", 256, "Hosts of the pod.")
_DATABASES = flags.DEFINE_integer("databases", 10_000, "Databases, their popularity as 1/rank.")
_UNIT_SIZE = flags.DEFINE_integer("unit_size", 64, "The most examples of a unit.")
_RATE = flags.DEFINE_float("tokens_per_second", 40_000, "Estimated tokens per host and second.")
_SAMPLE = flags.DEFINE_integer("sample", 3000, "Units to create and to read for real; 0: none.")
_BUCKET_GBIT = flags.DEFINE_float("bucket_gbit", 200, "What all hosts read from a bucket together.")
_HOST_GBIT = flags.DEFINE_float("host_gbit", 50, "What one host reads.")

BUCKET = "gs://simulated/run"
# Relative to the mean: how much hosts differ for the whole run, and units from their estimate.
_HOST_SIGMA, _UNIT_SIGMA = 0.03, 0.15
_WEIGHTS_GB = {"gemma3_270m": 0.54, "gemma3_4b": 8.6, "gemma3_27b": 54.0}


@dataclasses.dataclass(frozen=True, slots=True)
class Example:
    example_id: str
    db_id: str
    tokens: int


def main(argv: Sequence[str]) -> None:
    """Prints one section after the other."""
    del argv
    plan = _measure_planner()
    costs = [unit.estimated_tokens for unit in plan]
    _simulate_hosts(costs)
    if _SAMPLE.value:
        _measure_storage(plan)
    _print_storm()


def _examples(chance: random.Random) -> list[Example]:
    """Questions over databases of unequal popularity and size, lognormal as Spider's are."""
    names = [f"db{i:05d}" for i in range(_DATABASES.value)]
    schema = {name: chance.lognormvariate(5.5, 0.6) for name in names}
    weights = [1 / (rank + 1) for rank in range(len(names))]
    chosen = chance.choices(names, weights, k=_EXAMPLES.value)
    return [
        Example(f"train/{i:08d}", name, int(schema[name] + chance.lognormvariate(3.2, 0.5)))
        for i, name in enumerate(chosen)
    ]


def _measure_planner() -> list[units.Unit[Example]]:
    examples = _examples(random.Random(0))
    before = _resident_gb()
    with _Timed() as planning:
        plan = units.plan_units(
            examples, unit_size=_UNIT_SIZE.value, length=lambda example: example.tokens
        )
    with _Timed() as digesting:
        units.plan_digest(plan)
    hosts = _HOSTS.value
    totals = [sum(unit.estimated_tokens for unit in plan[host::hosts]) for host in range(hosts)]
    _section("Plan (measured)")
    _line("units", f"{len(plan):,} for {len(examples):,} examples, {_DATABASES.value:,} databases")
    _line("planning", f"{planning}")
    _line("digest of the plan", f"{digesting}")
    _line("memory", f"{before:.1f} GB with the examples, {_resident_gb():.1f} GB at the peak")
    # Else the garbage collector walks through ten million examples again and again.
    gc.freeze()
    _line("slowest host", f"{max(totals) / statistics.mean(totals) - 1:.2%} over the mean")
    return plan


@dataclasses.dataclass
class _Host:
    """What one host did.

    Attributes:
      computed: when its last unit was computed.
      confirmed: when its last upload was confirmed.
      created: when each of its objects was.
    """

    computed: float
    confirmed: float
    created: list[float]


def _simulate_hosts(costs: Sequence[int]) -> None:
    """Every host computes its share and uploads in the background."""
    chance = random.Random(1)
    hosts = [_work(costs[host :: _HOSTS.value], chance) for host in range(_HOSTS.value)]
    created = sorted(time for host in hosts for time in host.created)
    busiest = max(end - start for start, end in _windows(created, 1.0))
    computed = [host.computed for host in hosts]
    pages = len(units.listing_prefixes(len(costs)))
    _section(f"{_HOSTS.value} hosts at {_RATE.value:,.0f} estimated tokens/s (simulated)")
    _line("compute", f"mean {statistics.mean(computed):.0f} s, slowest {max(computed):.0f} s")
    _line("waiting for uploads", f"{max(h.confirmed - h.computed for h in hosts):.2f} s at most")
    _line("creates", f"{len(created) / max(created):,.0f} a second, {busiest:,} in the busiest")
    _line("listings at the end", f"{pages} pages for each host")


def _work(costs: Sequence[int], chance: random.Random) -> _Host:
    clock = 0.0
    speed = _RATE.value * chance.lognormvariate(0.0, _HOST_SIGMA)
    threads = [0.0] * storage.StorageConfig().upload_threads
    created = []
    for cost in costs:
        clock += cost / speed * chance.lognormvariate(0.0, _UNIT_SIGMA)
        done = max(clock, threads[0]) + _latency("create", chance)
        heapq.heapreplace(threads, done)
        created.append(done)
    return _Host(clock, max(threads), created)


def _windows(times: Sequence[float], width: float):
    """Yields, for each time, the index where its window starts and the one after it."""
    start = 0
    for end, moment in enumerate(times):
        while times[start] <= moment - width:
            start += 1
        yield start, end + 1


def _latency(kind: str, chance: random.Random) -> float:
    median, sigma = simulated_gcs.LATENCY_S[kind]
    return median * chance.lognormvariate(0.0, sigma)


def _measure_storage(plan: list[units.Unit[Example]]) -> None:
    """The real layer against a service with sampled latencies and the documented limits."""
    rest = [unit.name for unit in plan[_SAMPLE.value :]]
    hosts = _HOSTS.value
    body = predictions.encode_rows(_rows(plan[len(plan) // 2]))
    _section("Storage layer (measured, latencies sampled)")
    _line("unit object", f"{len(body) / 1e3:.0f} kB; the run {len(body) * len(plan) / 1e9:.1f} GB")
    objects = {"run/run.json": _begun(plan)} | _notes(plan, body)
    _line("notes of checksums", f"{len(objects) - 1:,} objects by {hosts} hosts")
    with simulated_gcs.running([f"run/{name}" for name in rest], body, objects) as endpoint:
        os.environ["STORAGE_EMULATOR_HOST"] = endpoint
        _measure_opening(endpoint)
        host = manifest.Run(storage.open_storage(BUCKET), plan, index=hosts - 1, count=hosts)
        with _Timed() as listing:
            whole, _ = host.examine()
        _line("resume: finding units", f"{listing}; {len(whole):,} of this host are whole")
        run = manifest.Run(storage.open_storage(BUCKET), plan)
        with _Timed() as creating:
            for unit in plan[: _SAMPLE.value]:
                run.write_unit(unit, _rows(unit))
            run.flush()
        _line("creating, one host", f"{_SAMPLE.value / creating.seconds:.0f} units a second")
        with _Timed() as ending:
            assert run.write_done_if_complete()
        _line("listing twice, all notes, done.json", f"{ending}")
        _measure_reading(len(plan))


def _notes(plan: list[units.Unit[Example]], body: bytes) -> dict[str, bytes]:
    """What the hosts that wrote all units but the first noted of them."""
    objects, crc32c = {}, storage.checksum(body)
    for host in range(_HOSTS.value):
        notes = checksums.Notes(host, _HOSTS.value)
        share = plan[host :: _HOSTS.value]
        for unit in share:
            if unit.index >= _SAMPLE.value:
                notes.add(unit.name, len(unit.examples), len(body), crc32c)
            if note := notes.take(last=unit is share[-1]):
                objects[f"run/{note[0]}"] = note[1]
    return objects


def _begun(plan: list[units.Unit[Example]]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        local = storage.open_storage(folder)
        manifest.Run.open(local, units=plan, fingerprint={}, recorded={})
        return local.read(manifest.RUN_FILE)


def _measure_opening(endpoint: str) -> None:
    """All hosts create run.json at once, one write a second being what the service takes."""
    plan = units.plan_units([Example("dev/0000", "db", 1)], unit_size=1, length=lambda _: 1)
    stores = [storage.open_storage(f"{BUCKET}-begun") for _ in range(_HOSTS.value)]

    def open_run(store: storage.Storage) -> float:
        with _Timed() as opening:
            manifest.Run.open(store, units=plan, fingerprint={}, recorded={})
        return opening.seconds

    with concurrent.futures.ThreadPoolExecutor(len(stores)) as pool:
        seconds = list(pool.map(open_run, stores))
    replies = json.load(urllib.request.urlopen(f"{endpoint}/replies"))
    _line(
        "beginning at once",
        f"slowest host {max(seconds):.1f} s, median {statistics.median(seconds):.1f} s; "
        f"creates answered {', '.join(f'{count} x {status}' for status, count in replies.items())}",
    )


def _measure_reading(count: int) -> None:
    with _Timed() as opening:
        found = reader.read_run(BUCKET)
    part = dataclasses.replace(found, present=found.present[-_SAMPLE.value :])
    with _Timed() as reading:
        read = sum(len(unit.rows) for unit in part.units() if unit.damage is None)
    per_unit = reading.seconds / len(part.present)
    _line("report: listing, done.json", f"{opening}")
    _line(
        "report: reading all units",
        f"{per_unit * count:.0f} s ({read / reading.seconds:,.0f} rows a second)",
    )


def _print_storm() -> None:
    _section("Weights on every host at once (computed)")
    for name, gigabytes in _WEIGHTS_GB.items():
        alone = gigabytes * 8 / _HOST_GBIT.value
        together = gigabytes * 8 * _HOSTS.value / _BUCKET_GBIT.value
        _line(name, f"{gigabytes} GB: {max(alone, together):.0f} s, one host alone {alone:.1f} s")


def _rows(unit: units.Unit[Example]) -> list[predictions.Prediction]:
    return [
        predictions.Prediction(
            example_id=example.example_id,
            db_id=example.db_id,
            question="How many singers older than 30 performed in each stadium in 2014?",
            gold="SELECT T2.name, count(*) FROM concert AS T1 JOIN stadium AS T2 GROUP BY 1",
            text=" T2.name, count(*) FROM concert AS T1 JOIN stadium AS T2 GROUP BY T2.name;\n",
            sql="SELECT T2.name, count(*) FROM concert AS T1 JOIN stadium AS T2 GROUP BY T2.name",
            status="ok",
            prompt_tokens=example.tokens,
            output_tokens=32,
        )
        for example in unit.examples
    ]


class _Timed:
    """Wall time of a block, and the time that this process computed in it."""

    def __enter__(self) -> "_Timed":
        self._start, self._cpu_start = time.perf_counter(), time.process_time()
        self.seconds = self.cpu_seconds = 0.0
        return self

    def __exit__(self, *exception) -> None:
        self.seconds = time.perf_counter() - self._start
        self.cpu_seconds = time.process_time() - self._cpu_start

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s, {self.cpu_seconds:.1f} s of them computing"


def _resident_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _section(title: str) -> None:
    print(f"\n{title}")


def _line(what: str, figure: str) -> None:
    print(f"  {what:<28} {figure}", flush=True)


if __name__ == "__main__":
    cli.run(main)
