import errno
import os
import subprocess
import sys
import time

import pytest

from t2sql import errors
from t2sql.storage import fingerprint, local_cache


class Build:
    """Builds an entry of two files and counts how often."""

    def __init__(self):
        self.count = 0

    def __call__(self, staging):
        self.count += 1
        (staging / "sub").mkdir()
        (staging / "sub" / "a.bin").write_bytes(b"weights")
        (staging / "b.txt").write_text("text")


def contents(entry):
    return (entry / "sub" / "a.bin").read_bytes(), (entry / "b.txt").read_text()


def test_built_once(tmp_path):
    build = Build()
    for _ in range(3):
        entry = local_cache.get_or_build(tmp_path / "entry", build)
        assert contents(entry) == (b"weights", "text")
    assert build.count == 1


def _shorten(entry):
    (entry / "sub" / "a.bin").write_bytes(b"weig")


def _flip_a_byte(entry):
    (entry / "sub" / "a.bin").write_bytes(b"Weights")


def _remove_a_file(entry):
    (entry / "b.txt").unlink()


def _remove_the_manifest(entry):
    (entry / local_cache._MANIFEST).unlink()


def _halve_the_manifest(entry):
    manifest = entry / local_cache._MANIFEST
    manifest.write_text(manifest.read_text()[:50])


@pytest.mark.parametrize(
    "damage", [_shorten, _flip_a_byte, _remove_a_file, _remove_the_manifest, _halve_the_manifest]
)
def test_damage_is_noticed_reported_and_rebuilt(tmp_path, damage, caplog):
    build = Build()
    entry = local_cache.get_or_build(tmp_path / "entry", build)
    damage(entry)
    assert contents(local_cache.get_or_build(entry, build)) == (b"weights", "text")
    assert build.count == 2
    assert "building it again" in caplog.text


def test_a_copied_entry_is_whole(tmp_path):
    build = Build()
    entry = local_cache.get_or_build(tmp_path / "entry", build)
    os.utime(entry / "b.txt")
    local_cache.get_or_build(entry, build)
    assert build.count == 1


@pytest.mark.parametrize(
    ("raised", "seen", "message"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), errors.InputError, "disk .* is full"),
        (ValueError("OS error: No space left on device"), errors.InputError, "disk .* is full"),
        (OSError(errno.EIO, os.strerror(errno.EIO)), OSError, "Input/output error"),
        (ZeroDivisionError("a bug"), ZeroDivisionError, "a bug"),
    ],
)
def test_a_failed_build_leaves_nothing(tmp_path, raised, seen, message):
    def fail(staging):
        (staging / "half").write_text("x")
        raise raised

    with pytest.raises(seen, match=message):
        local_cache.get_or_build(tmp_path / "entry", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["entry.lock"]


_SLOW_BUILD = """
import pathlib, sys, time
from t2sql.storage import local_cache

def build(staging):
    (staging / "half").write_text("x")
    print("building", flush=True)
    time.sleep(float(sys.argv[2]))
    (staging / "whole").write_text("x")

local_cache.get_or_build(pathlib.Path(sys.argv[1]), build)
"""


def _start(entry, seconds):
    command = [sys.executable, "-c", _SLOW_BUILD, str(entry), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_killed_build_is_swept_up_and_done_again(tmp_path):
    process = _start(tmp_path / "entry", 60)
    assert process.stdout.readline() == "building\n"
    process.kill()
    process.communicate()
    build = Build()
    local_cache.get_or_build(tmp_path / "entry", build)
    assert build.count == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["entry", "entry.lock"]


def test_processes_build_it_once(tmp_path):
    processes = [_start(tmp_path / "entry", 0.3) for _ in range(3)]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sorted(outputs) == ["", "", "building\n"]


def test_a_cache_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.InputError, match="cannot write to the cache folder.*T2SQL_CACHE"):
        local_cache.get_or_build(tmp_path / "file" / "entry", Build())


def test_the_variable_names_the_default(monkeypatch, tmp_path):
    monkeypatch.setenv("T2SQL_CACHE", str(tmp_path))
    assert local_cache.default_dir() == tmp_path
    monkeypatch.delenv("T2SQL_CACHE")
    assert local_cache.default_dir().parts[-2:] == (".cache", "t2sql")


def make_folder(root):
    (root / "d").mkdir(parents=True)
    (root / "d" / "0").write_bytes(b"data")
    (root / "_METADATA").write_text("{}")
    return root


def test_fingerprint_depends_on_contents_and_names_only(tmp_path):
    one, two = make_folder(tmp_path / "one"), make_folder(tmp_path / "two" / "deep")
    of = fingerprint.of_folder(one, cache_dir=tmp_path / "cache")
    assert of == fingerprint.of_folder(two, cache_dir=tmp_path / "other_cache")
    (two / "d" / "0").rename(two / "d" / "1")
    assert of != fingerprint.of_folder(two, cache_dir=tmp_path / "cache")


def test_fingerprint_notices_a_change_and_reads_once_otherwise(tmp_path, monkeypatch):
    folder, cache_dir = make_folder(tmp_path / "one"), tmp_path / "cache"
    before = fingerprint.of_folder(folder, cache_dir=cache_dir)
    time.sleep(0.01)
    (folder / "d" / "0").write_bytes(b"DATA")
    after = fingerprint.of_folder(folder, cache_dir=cache_dir)
    assert before != after
    monkeypatch.setattr(local_cache, "sha256_of", lambda path: pytest.fail("read again"))
    assert fingerprint.of_folder(folder, cache_dir=cache_dir) == after


def test_fingerprint_of_a_file_is_its_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert fingerprint.of_file(tmp_path / "a", cache_dir=tmp_path / "c") == expected
