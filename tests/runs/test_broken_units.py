"""Units that were cut, emptied or changed: told by name, kept, and computed again."""

import json

import pytest
from small_run import PLAN, make_rows, open_run, write

from t2sql import errors, storage
from t2sql.runs import checksums, manifest, predictions

NAME = PLAN[1].name
WHOLE = predictions.encode_rows(make_rows(PLAN[1]))
DAMAGES = {
    "cut": WHOLE[:-20],
    "cut after a row": WHOLE[: WHOLE.index(b"\n") + 1],
    "empty": b"",
    "without its first row": WHOLE[WHOLE.index(b"\n") + 1 :],
    "with a row twice": WHOLE[: WHOLE.index(b"\n") + 1] + WHOLE,
    "another unit's": predictions.encode_rows(make_rows(PLAN[2])),
    "binary": b"\xff" + WHOLE,
}
CHANGED_LETTER = WHOLE.replace(b"SELECT 1", b"SELECT 2", 1)


def replace(run: manifest.Run, name: str, data: bytes) -> None:
    """Changes an object behind the back of the run."""
    run.storage.delete([name])
    run.storage.create(name, data)


def forget_notes(run: manifest.Run) -> None:
    """As if whoever wrote the units had been killed before it noted their checksums."""
    run.storage.delete(run.storage.names(checksums.PREFIX))


def finish(url: str, **values) -> manifest.Run:
    """Opens the run again, writes what is not whole, and ends it."""
    run = open_run(url, **values)
    whole, _ = run.examine()
    write(run, [unit for unit in run.share if unit.name not in whole])
    assert run.write_done_if_complete()
    return run


def assert_whole(run: manifest.Run) -> None:
    done = json.loads(run.storage.read("done.json"))["objects"]
    for unit in PLAN:
        data = run.storage.read(unit.name)
        assert data == predictions.encode_rows(make_rows(unit))
        assert done[unit.name]["crc32c"] == storage.checksum(data)


@pytest.mark.parametrize("noted", [True, False])
@pytest.mark.parametrize("kind", DAMAGES)
def test_a_broken_unit_is_named_kept_and_computed_again(url, kind, noted):
    run = open_run(url)
    write(run, PLAN)
    if not noted:
        forget_notes(run)
    replace(run, NAME, DAMAGES[kind])
    with pytest.raises(errors.TryAgainError, match=f"1 units broke .*{NAME}: .*run the same"):
        run.write_done_if_complete()
    whole, broken = open_run(url).examine()
    assert broken.keys() == {NAME}
    assert whole == {unit.name for unit in PLAN if unit.name != NAME}
    kept = run.storage.names("broken/")
    assert [run.storage.read(name) for name in kept] == [DAMAGES[kind]]
    assert_whole(finish(url))


def test_one_changed_letter_is_seen_by_the_checksum(url):
    run = open_run(url)
    write(run, PLAN)
    replace(run, NAME, CHANGED_LETTER)
    _, broken = open_run(url).examine()
    assert "when written it had" in broken[NAME]
    assert_whole(finish(url))


def test_units_without_a_note_are_read_once_and_noted(url, monkeypatch):
    run = open_run(url)
    write(run, PLAN)
    forget_notes(run)
    again = open_run(url)
    assert again.examine() == ({unit.name for unit in PLAN}, {})
    again.flush()
    monkeypatch.setattr(predictions, "decode_rows", lambda *_, **__: pytest.fail("read a unit"))
    assert open_run(url).examine() == ({unit.name for unit in PLAN}, {})
    assert open_run(url).write_done_if_complete()


def test_a_note_that_is_damaged_is_told_and_units_are_judged_by_their_rows(url, caplog):
    run = open_run(url)
    write(run, PLAN)
    for name in run.storage.names(checksums.PREFIX):
        replace(run, name, run.storage.read(name)[:-3])
    replace(run, NAME, DAMAGES["cut"])
    assert open_run(url).examine()[1].keys() == {NAME}
    assert "cannot be read: its units are checked by their rows" in caplog.text
    assert_whole(finish(url))


def test_a_host_answers_for_its_own_units_only(url):
    write(open_run(url), PLAN)
    run = open_run(url, index=0, count=2)
    replace(run, NAME, DAMAGES["cut"])  # the second host's
    assert run.examine()[1] == {}
    assert not run.write_done_if_complete()
    finish(url, index=1, count=2)
    assert run.write_done_if_complete()
    assert_whole(run)


@pytest.mark.parametrize(("index", "count"), [(0, 1), (1, 2), (2, 3), (5, 6)])
def test_a_host_reads_the_notes_about_its_units_whatever_the_number_of_hosts(url, index, count):
    for other in range(4):
        run = open_run(url, index=other, count=4)
        write(run, run.share)
    run = open_run(url, index=index, count=count)
    noted = checksums.read(run.storage, index, count)
    assert noted.keys() >= {unit.name for unit in run.share}
    assert checksums.read(run.storage).keys() == {unit.name for unit in PLAN}
    if (index, count) == (1, 2):
        assert noted.keys() == {unit.name for unit in run.share}


def test_notes_are_few(tmp_path):
    notes = checksums.Notes(0, 1)
    taken = []
    for number in range(1000):
        notes.add(f"unit-{number}", 1, 1, "")
        taken.append(notes.take())
    taken = [note for note in (*taken, notes.take(last=True)) if note]
    assert len(taken) <= 12
    assert sum(len(json.loads(data)["objects"]) for _, data in taken) == 1000
    assert len({name for name, _ in taken}) == len(taken)


@pytest.mark.parametrize("kind", [*DAMAGES, "deleted"])
def test_a_unit_that_changed_after_the_end_is_redone_as_the_message_says(url, kind):
    run = finish(url)
    done = run.storage.read("done.json")
    if kind == "deleted":
        run.storage.delete([NAME])
    else:
        replace(run, NAME, DAMAGES[kind])
        for _ in range(2):  # It is not signed by asking again.
            with pytest.raises(errors.RefusedError, match=f"{NAME}: .*--config.redo=True"):
                open_run(url).examine()
    again = finish(url, redo=kind != "deleted")
    assert_whole(again)
    assert again.storage.read("done.json") == done


def test_what_is_redone_may_have_other_bytes_and_is_signed_again(url):
    run = finish(url)
    replace(run, NAME, b"")
    again = open_run(url, redo=True)
    assert again.examine()[1].keys() == {NAME}
    again.write_unit(PLAN[1], make_rows(PLAN[1], text="SELECT 2"))
    assert again.write_done_if_complete()
    assert b"SELECT 2" in again.storage.read(NAME)
    assert open_run(url).examine() == ({unit.name for unit in PLAN}, {})
    assert open_run(url).write_done_if_complete()


def test_several_hosts_redo_each_its_own_units(url):
    run = finish(url)
    for unit in PLAN[:4]:
        replace(run, unit.name, b"")
    hosts = [open_run(url, index=index, count=3, redo=True) for index in range(3)]
    redone = 0
    for host in hosts:
        whole, broken = host.examine()
        write(host, [unit for unit in host.share if unit.name not in whole])
        redone += len(broken)
        host.write_done_if_complete()
    assert redone == 4
    assert_whole(run)


@pytest.mark.parametrize("text", [b"", b"{"])
def test_a_broken_done_json_is_deleted_and_made_again_as_the_message_says(url, text):
    run = finish(url)
    replace(run, "done.json", text)
    with pytest.raises(errors.InputError, match=r"done\.json: not JSON.*delete it and run"):
        open_run(url).examine()
    run.storage.delete(["done.json"])
    assert_whole(finish(url))


def test_a_broken_run_json_is_overwritten_as_the_message_says(url):
    run = finish(url)
    replace(run, "run.json", b"{")
    with pytest.raises(errors.InputError, match=r"run\.json: not JSON.*--config\.overwrite=True"):
        open_run(url)
    manifest.delete_run(run.storage)
    assert run.storage.names() == set()
    assert_whole(finish(url))


def test_units_that_another_process_writes_meanwhile_are_counted(url, caplog):
    ours, theirs = open_run(url), open_run(url)
    for run in (ours, theirs):
        run.examine()
    write(theirs, PLAN[:2])
    write(ours, PLAN[1:])
    assert (ours.taken, theirs.taken) == ({PLAN[1].name}, set())
    assert f"{PLAN[1].name} was written by another process meanwhile, with the same" in caplog.text


@pytest.mark.parametrize("entry", [None, [], {"size": 1}])
def test_a_done_json_without_checksums_is_deleted_and_made_again(tmp_path, entry):
    run = finish(str(tmp_path))
    done = json.loads(run.storage.read("done.json"))
    done["objects"][NAME] = entry
    replace(run, "done.json", json.dumps(done).encode())
    with pytest.raises(errors.InputError, match=f"{NAME} has no size and crc32c; delete it and"):
        open_run(str(tmp_path)).examine()
    run.storage.delete(["done.json"])
    assert_whole(finish(str(tmp_path)))
