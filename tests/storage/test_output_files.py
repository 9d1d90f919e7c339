import resource

import pytest

from t2sql import errors
from t2sql.storage import output_files


def test_nothing_is_left_behind_by_a_report_that_fails(tmp_path):
    (tmp_path / "report.md").write_text("an earlier report")
    with pytest.raises(ZeroDivisionError), output_files.open_output_files(str(tmp_path)) as files:
        files.write("report.md", "half of a new one")
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]
    assert (tmp_path / "report.md").read_text() == "an earlier report"


def test_a_lone_surrogate_does_not_stop_a_command(tmp_path):
    with output_files.open_output_files(str(tmp_path)) as files:
        files.write("predict.txt", "SELECT '\ud800'\n")
        files.publish()
    assert (tmp_path / "predict.txt").read_text() == "SELECT '\\ud800'\n"


def test_an_unwritable_output_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(errors.InputError, match="--output=.*file/report: cannot be written: Not a"),
        output_files.open_output_files(str(tmp_path / "file" / "report")),
    ):
        pass


def test_a_bucket_is_no_output():
    with (
        pytest.raises(errors.InputError, match="local directory"),
        output_files.open_output_files("gs://bucket/report"),
    ):
        pass


def test_a_disk_that_takes_no_more_is_told_as_such(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))
    try:
        with (
            pytest.raises(errors.InputError, match="cannot be written: File too large"),
            output_files.open_output_files(str(tmp_path)) as files,
        ):
            files.write("report.md", "x" * 1_000_000)
            files.publish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
