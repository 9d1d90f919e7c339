"""The main job over data in a bucket: the bytes of a run over local data, fewer reads."""

import re

import fault_proxy
import jobs
import pytest
from fault_proxy import Fault

from t2sql import storage
from t2sql.choose import within_run
from t2sql.data import sources
from t2sql.runs import job
from t2sql.runtime import distributed, signals

VALUES = {"data.limit": 24, "unit_size": 6, "sampling.max_new_tokens": 40}
CHOOSING = {"sampling.samples": 2, "sampling.temperature": 0.8, "sampling.choose": "vote"}


@pytest.fixture
def url(bucket) -> str:
    """The sample data in a bucket."""
    remote = storage.open_storage(f"{bucket}/sample")
    for path in sources.SAMPLE.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".sqlite"):
            remote.create(path.relative_to(sources.SAMPLE).as_posix(), path.read_bytes())
    return remote.url


def run_host(output, index: int, count: int, **values) -> None:
    config = jobs.make_config(output, **VALUES | values)
    process = distributed.Process(index=index, count=count)
    with within_run.Chooser(config) as choose:
        job.run(config, signals.TerminationWatch(grace_seconds=1), process, choose)


def units_of(output) -> dict[str, bytes]:
    run = storage.open_storage(str(output))
    return {name: run.read(name) for name in run.names("predictions/")}


@pytest.mark.slow
@pytest.mark.parametrize("how", [{"sampling.constrain": "schema"}, CHOOSING])
def test_three_hosts_without_shared_disks(url, bucket, tmp_path, gcs_server, monkeypatch, how):
    """Their run is that over local data; later hosts fetch what their units need."""
    for index in range(3):
        run_host(tmp_path / "local", index, 3, **how)
    expected = units_of(tmp_path / "local")
    databases = [path.stem for path in sources.SAMPLE.glob("database/*/*.sqlite")]
    with fault_proxy.running(gcs_server.url, lambda request: Fault.NONE) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        output, reads = f"{bucket}/run", []
        for index in range(3):
            proxy.seen.clear()
            place = {"data.path": url, "cache_dir": str(tmp_path / f"host-{index}")}
            run_host(output, index, 3, **place, **how)
            paths = [request.path for request, _ in proxy.seen if request.is_download]
            reads.append(re.findall(r"%2F(\w+)\.sqlite", " ".join(paths)))
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server.url)
    assert units_of(output) == expected
    done = storage.open_storage(output).read("done.json")
    assert done == (tmp_path / "local" / "done.json").read_bytes()
    for index, names in enumerate(reads):
        assert len(names) == len(set(names)), f"host {index} read a database twice"
    assert 0 < len(reads[0]) <= len(databases)
    own = len(list(expected)[1::3])
    assert len(reads[1]) <= own and len(reads[2]) <= own
