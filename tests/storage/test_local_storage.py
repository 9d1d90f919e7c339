"""Local objects: whole or not there, never replaced, whatever happens to the writer."""

import errno
import multiprocessing
import os
import pathlib
import random
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from t2sql import errors, storage
from t2sql.storage import local

NOBODY = 65534


@pytest.fixture
def run(tmp_path):
    return storage.open_storage(str(tmp_path / "run"))


def _leftovers(directory: pathlib.Path) -> list[pathlib.Path]:
    return list(directory.rglob(f"{local.ASIDE}*"))


def test_an_object_is_created_once_and_never_replaced(run, tmp_path):
    assert run.create("predictions/a.jsonl", b"one") is storage.Outcome.CREATED
    assert run.create("predictions/a.jsonl", b"one") is storage.Outcome.SAME
    assert run.create("predictions/a.jsonl", b"two") is storage.Outcome.OTHER
    assert run.read("predictions/a.jsonl") == b"one"
    assert not _leftovers(tmp_path)


def test_listing_tells_size_and_checksum(run):
    for name, data in [("p/b", b"22"), ("p/a", b""), ("q", b"123456789")]:
        run.create(name, data)
    assert [info.name for info in run.list()] == ["p/a", "p/b", "q"]
    # The check value of CRC-32C for "123456789" is e3069283 (RFC 3720 gives the polynomial).
    assert run.list("q")[0].crc32c == "4waSgw=="
    assert run.names("p/") == {"p/a", "p/b"}
    assert run.names("p/a") == {"p/a"}
    assert run.names("p/a", "q", "nothing/") == {"p/a", "q"}


def test_a_run_that_is_not_there_is_empty_and_is_not_made_by_looking(run, tmp_path):
    assert run.names() == set()
    assert run.list("predictions/") == []
    assert not run.exists("run.json")
    run.delete(["run.json"])
    with pytest.raises(FileNotFoundError):
        run.read("run.json")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["../up", "/absolute", "a//b", "a/./b", "", "a\\b", "a\0b"])
def test_a_name_that_leaves_its_directory_is_refused(run, name):
    with pytest.raises(errors.InputError, match="cannot be an object's name"):
        run.create(name, b"")


@pytest.mark.parametrize("url", ["", "s3://bucket/run", "file:///tmp/run"])
def test_a_url_of_another_kind_is_refused(url):
    with pytest.raises(errors.InputError, match="gs://BUCKET/PATH"):
        storage.open_storage(url)


def test_a_home_directory_is_understood(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    storage.open_storage("~/run").create("a", b"")
    assert (tmp_path / "run" / "a").exists()


def _create_many(root: str, payload: bytes, outcomes) -> None:
    run = storage.open_storage(root)
    outcomes.put([run.create(f"p/unit-{i}", payload * 1000) for i in range(100)])


def test_processes_that_create_the_same_objects_leave_one_of_each(tmp_path):
    context = multiprocessing.get_context("fork")
    outcomes = context.Queue()
    payloads = [b"aaaa", b"bbbb", b"cccc"]
    processes = [
        context.Process(target=_create_many, args=(str(tmp_path), payload, outcomes))
        for payload in payloads
    ]
    for process in processes:
        process.start()
    results = [outcomes.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    for i, of_one_object in enumerate(zip(*results, strict=True)):
        assert sorted(outcome.name for outcome in of_one_object) == ["CREATED", "OTHER", "OTHER"]
        assert (tmp_path / f"p/unit-{i}").read_bytes() in [payload * 1000 for payload in payloads]
    assert not _leftovers(tmp_path)


WRITER = """
    import sys
    from t2sql import storage
    run = storage.open_storage(sys.argv[1])
    print("ready", flush=True)
    for i in range(100_000):
        run.create(f"p/unit-{i}", str(i).encode() * 50_000)
"""


def test_a_writer_killed_at_any_moment_leaves_whole_objects_or_none(tmp_path):
    chance = random.Random(1)
    with_leftovers = 0
    for attempt in range(15):
        root = tmp_path / str(attempt)
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(root)], stdout=subprocess.PIPE
        ) as process:
            process.stdout.readline()
            time.sleep(chance.uniform(0, 0.03))
            process.send_signal(signal.SIGKILL)
        run = storage.open_storage(str(root))
        for info in run.list():
            assert run.read(info.name) == info.name.removeprefix("p/unit-").encode() * 50_000
        with_leftovers += bool(_leftovers(root))
        run.create("p/another", b"")
        assert not _leftovers(root)
    assert with_leftovers, "no kill hit a write: the test shows nothing"


def test_sweeping_spares_the_files_of_writers_that_live(tmp_path):
    (tmp_path / "p").mkdir()
    with local._written_aside(tmp_path / "p", b"data") as aside:
        storage.open_storage(str(tmp_path)).create("p/other", b"")
        assert aside.read_bytes() == b"data"
        assert storage.open_storage(str(tmp_path)).names() == {"p/other"}
    assert not _leftovers(tmp_path)


@pytest.mark.parametrize("call", ["write", "fsync", "link"])
def test_a_full_disk_is_try_again_and_leaves_nothing(run, tmp_path, monkeypatch, call):
    run.create("p/before", b"1")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if call == "write":
        # A real short write: the file size limit counts for this process alone.
        code = (
            "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
            "from t2sql import storage;"
            "storage.open_storage(sys.argv[1]).create('p/unit', b'x' * 5000)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True
        )
        assert "TryAgainError" in done.stderr
        assert "file size limit" in done.stderr
    else:
        monkeypatch.setattr(os, call, lambda *args: (_ for _ in ()).throw(full))
        with pytest.raises(errors.TryAgainError, match="disk is full; free some space"):
            run.create("p/unit", b"x" * 5000)
        monkeypatch.undo()
    assert run.names() == {"p/before"}
    assert not _leftovers(tmp_path)
    assert run.create("p/unit", b"x" * 5000) is storage.Outcome.CREATED


def _as_nobody(call: str, root: pathlib.Path) -> str:
    """Runs a call without root's rights, for which permissions do not count."""
    code = (
        "import os, sys\n"
        "from t2sql import storage\n"
        "run = storage.open_storage(sys.argv[1])\n"
        f"os.getuid() or os.setuid({NOBODY})\n"
        f"{call}"
    )
    done = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, text=True)
    return done.stderr


def test_a_directory_without_permission_is_bad_input():
    locked = pathlib.Path("/var/tmp") / f"t2sql-locked-{os.getpid()}"
    locked.mkdir(mode=0o555)
    try:
        told = _as_nobody("run.create('run.json', b'')", locked / "run")
        assert f"InputError: {locked}/run: no permission; choose another directory" in told
        locked.chmod(0o000)
        told = _as_nobody("run.read('run.json')", locked)
        assert f"InputError: {locked}/run.json: no permission" in told
    finally:
        locked.chmod(0o700)
        locked.rmdir()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.EROFS, "read-only; choose another directory"),
        (errno.EPERM, "no hard links"),
        (errno.EOPNOTSUPP, "no hard links"),
    ],
)
def test_a_file_system_that_cannot_do_it_is_bad_input(run, monkeypatch, code, message):
    def refuse(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(errors.InputError, match=message):
        run.create("p/unit", b"")


def test_a_file_where_the_run_should_be_is_bad_input(tmp_path):
    (tmp_path / "run").write_text("not a directory")
    run = storage.open_storage(str(tmp_path / "run"))
    for call in (lambda: run.create("a/b", b""), lambda: run.read("a"), lambda: run.names()):
        with pytest.raises(errors.InputError, match="file"):
            call()


def test_an_object_is_withdrawn_only_with_the_bytes_that_it_holds(tmp_path):
    run = storage.open_storage(str(tmp_path))
    run.create("p/unit", b"broken")
    assert not run.withdraw("p/unit", b"other")
    assert run.withdraw("p/unit", b"broken")
    assert not run.withdraw("p/unit", b"broken")
    assert run.create("p/unit", b"whole") is storage.Outcome.CREATED
    assert [path.name for path in (tmp_path / "p").iterdir()] == ["unit"]


def test_checksums_are_read_of_the_objects_asked_for_only(tmp_path, monkeypatch):
    run = storage.open_storage(str(tmp_path))
    for name in ("p/a", "p/b"):
        run.create(name, b"x")
    (tmp_path / "p" / "b").unlink()
    (tmp_path / "p" / "b").mkdir()  # cannot be read
    assert [info.name for info in run.list("p/", only={"p/a", "p/c"})] == ["p/a"]


def test_what_is_deleted_while_it_is_listed_is_not_there(tmp_path, monkeypatch):
    run = storage.open_storage(str(tmp_path))
    for name in "abc":
        run.create(name, name.encode())
    names = run.names()
    run.delete(["b"])
    monkeypatch.setattr(type(run), "names", lambda self, *prefixes: names)
    assert [info.name for info in run.list()] == ["a", "c"]
