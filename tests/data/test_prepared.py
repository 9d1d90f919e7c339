"""Hosts that read the databases of a bucket together: each one once, and all know all."""

import collections
import json
import pathlib
import re
import sqlite3
import threading

import fault_proxy
import pytest
from fault_proxy import Fault

from t2sql import config as config_lib
from t2sql import storage
from t2sql.data import from_config, prepared, prompts

DATABASES = [f"db{number:02d}" for number in range(12)]
_SQLITE = re.compile(r"/o/.*%2F(\w+)\.sqlite")


@pytest.fixture
def local(tmp_path) -> pathlib.Path:
    """Questions on twelve databases, one of which has a view that cannot be read."""
    root = tmp_path / "data"
    records = []
    for db_id in DATABASES:
        (root / "database" / db_id).mkdir(parents=True)
        with sqlite3.connect(root / "database" / db_id / f"{db_id}.sqlite") as connection:
            connection.execute(f"CREATE TABLE {db_id} (name TEXT)")
            connection.execute(f"INSERT INTO {db_id} VALUES ('Rosa')")
            if db_id == DATABASES[3]:
                connection.execute("CREATE VIEW broken AS SELECT * FROM nowhere")
        records += [{"db_id": db_id, "question": f"Is {name} in?"} for name in ("Rosa", "Ann")]
    (root / "dev.json").write_text(json.dumps(records))
    return root


@pytest.fixture
def url(bucket, local) -> str:
    remote = storage.open_storage(f"{bucket}/data")
    for path in local.rglob("*"):
        if path.is_file():
            remote.create(path.relative_to(local).as_posix(), path.read_bytes())
    return remote.url


@pytest.fixture
def proxy(gcs_server, url, monkeypatch):
    """A proxy that counts the requests."""
    with fault_proxy.running(gcs_server.url, lambda request: Fault.NONE) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        yield proxy


@pytest.fixture(params=["completion", "compact"])
def prompt(request) -> prompts.Prompt:
    return prompts.make_prompt(request.param)


def make_config(path, cache, **values):
    config = config_lib.default_config()
    config.data.path, config.cache_dir = str(path), str(cache)
    config.update_from_flattened_dict(values)
    return config


def read(url: str, output: str, prompt, cache: pathlib.Path, index: int, count: int, **values):
    """The examples as host `index` of `count` reads them, with a disk of its own."""
    config = make_config(url, cache / f"host-{index}", **values)
    hosts = prepared.Hosts(index, count, storage.open_storage(output))
    return from_config.read_examples(config, prompt, hosts)


def read_together(url, output, prompt, cache, count: int) -> list:
    results = [None] * count

    def work(index: int) -> None:
        results[index] = read(url, output, prompt, cache, index, count)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def reads_of_databases(proxy) -> dict[str, int]:
    """How often each database was downloaded."""
    downloads = [request.path for request, _ in proxy.seen if request.is_download]
    return collections.Counter(match[1] for path in downloads if (match := _SQLITE.search(path)))


def test_hosts_together_read_each_database_once(local, url, bucket, proxy, prompt, tmp_path):
    expected = from_config.read_examples(make_config(local, tmp_path), prompt)
    results = read_together(url, f"{bucket}/run", prompt, tmp_path, count=4)
    assert results == [expected] * 4
    assert reads_of_databases(proxy) == dict.fromkeys(DATABASES, 1)


def test_who_comes_later_reads_no_database(url, bucket, proxy, prompt, tmp_path):
    first = read_together(url, f"{bucket}/run", prompt, tmp_path, count=2)
    proxy.seen.clear()
    assert read(url, f"{bucket}/run", prompt, tmp_path / "new", 0, 3) == first[0]
    assert not reads_of_databases(proxy)


def test_a_host_alone_of_several_does_what_the_others_leave(
    local, url, bucket, proxy, prompt, tmp_path
):
    expected = from_config.read_examples(make_config(local, tmp_path), prompt)
    assert read(url, f"{bucket}/run", prompt, tmp_path, 1, 4) == expected
    assert reads_of_databases(proxy) == dict.fromkeys(DATABASES, 1)


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b'{"databases": {}}'])
def test_a_damaged_part_is_told_and_read_from_the_database(
    url, bucket, proxy, prompt, tmp_path, damage, caplog
):
    expected = read(url, f"{bucket}/run", prompt, tmp_path, 0, 1)
    run = storage.open_storage(f"{bucket}/run")
    name = min(run.names(prepared.PREFIX))
    run.delete([name])
    run.create(name, damage)
    proxy.seen.clear()
    assert read(url, f"{bucket}/run", prompt, tmp_path / "new", 0, 1) == expected
    assert sum(reads_of_databases(proxy).values()) == 1
    assert f"{name} cannot be read" in caplog.text


@pytest.mark.parametrize(
    "values", [{"data.limit": 4}, {"data.fields.question": "question"}, {"data.descriptions": True}]
)
def test_what_was_prepared_for_something_else_is_not_used(url, bucket, prompt, tmp_path, values):
    run = storage.open_storage(f"{bucket}/run")
    read(url, run.url, prompt, tmp_path, 0, 1)
    before = run.names(prepared.PREFIX)
    read(url, run.url, prompt, tmp_path, 0, 1, **values)
    assert run.names(prepared.PREFIX) > before


def test_what_is_left_out_is_told_on_every_host(url, bucket, prompt, tmp_path, capsys):
    from t2sql.data import notices

    for cache in ("first", "second"):
        notices.forget()
        read(url, f"{bucket}/run", prompt, tmp_path / cache, 0, 1)
        assert "the view broken is left out: no such table" in capsys.readouterr().err


def test_local_data_is_read_where_it_lies(local, bucket, prompt, tmp_path):
    read(local, f"{bucket}/run", prompt, tmp_path, 0, 1)
    assert not storage.open_storage(f"{bucket}/run").names()
