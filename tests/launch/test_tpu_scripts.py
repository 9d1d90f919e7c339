"""The scripts of `launch/tpu` one by one, with the stand-in for gcloud."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import fake_gcloud
import pods
import pytest

# Plays the Python of the workers: the job writes what it sees, and does as it is told.
JOB = """#!/bin/sh
printf '%s\\n' "$*" "$T2SQL_PROCESS_ID of $T2SQL_NUM_PROCESSES at $T2SQL_COORDINATOR" >>"$HOME/ran"
pwd >>"$HOME/ran"
cat /proc/[0-9]*/cmdline >"$HOME/processes" 2>/dev/null
eval "$TEST_JOB"
"""
CREATE = ("compute", "tpus", "queued-resources", "create")


@pytest.fixture
def project(cloud, tmp_path):
    """A project whose workers run a job of one line of shell, which sleeps at first."""
    python = tmp_path / "python"
    python.write_text(JOB)
    python.chmod(0o755)

    def set_job(line: str, **variables: str) -> None:
        cloud.set_worker_environment(T2SQL_PYTHON=str(python), TEST_JOB=line, **variables)

    cloud.set_job = set_job
    cloud.set_job("exec sleep 30")
    return cloud


@pytest.fixture
def granted(project):
    """The same with a slice of one worker."""
    fake_gcloud.grant(1)
    return project


@pytest.fixture
def pod(project):
    """The same with a slice of four."""
    fake_gcloud.grant(4)
    return project


def home(project, worker: int):
    return project.state / "workers" / str(worker)


def states(project) -> list[str]:
    """What status.sh says of the workers, in their order."""
    lines = project.run("status").splitlines()
    return sorted(line for line in lines if line.startswith("worker "))


# create.sh


def test_create_asks_for_a_spot_slice_with_the_image_of_its_generation(project):
    assert "v5litepod-16 (4 hosts), spot, in us-west4-a" in project.run("create")
    (call,) = project.calls(*CREATE)
    assert "--spot" in call
    assert "--runtime-version=v2-alpha-tpuv5-lite" in call
    assert "--node-id=t2sql" in call


def test_create_takes_settings_from_a_file_and_flags_above_it(project, tmp_path):
    settings = tmp_path / "mine.sh"
    settings.write_text("ACCELERATOR_TYPE=v6e-8\nPROVISIONING=on-demand\nNAME=filed\n")
    project.run("create", f"--settings={settings}", "--name=mine", "--project=my-project")
    (call,) = project.calls(*CREATE)
    assert call[4] == "mine"
    assert {"--accelerator-type=v6e-8", "--project=my-project"} <= set(call)
    assert "--spot" not in call


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--provisioning=reserved"], {"--reserved"}),
        (["--provisioning=reserved", "--reservation=mine"], {"--reserved", "--reservation=mine"}),
        (
            ["--provisioning=flex-start"],
            {"--provisioning-model=flex-start", "--max-run-duration=12h"},
        ),
        (["--provisioning=flex-start", "--max-run-duration=90m"], {"--max-run-duration=90m"}),
        (["--topology=4x4"], {"--type=v5litepod", "--topology=4x4"}),
        (["--labels=team=sql,run=dev"], {"--labels=team=sql,run=dev"}),
        (["--boot-disk=kms-key=KEY"], {"--boot-disk=kms-key=KEY"}),
    ],
)
def test_create_asks_as_it_is_told(project, flags, expected):
    project.run("create", *flags)
    (call,) = project.calls(*CREATE) or project.calls("alpha", *CREATE)
    assert expected <= set(call)
    assert ("--accelerator-type=v5litepod-16" in call) == ("--topology=4x4" not in call)


def test_create_does_nothing_where_the_slice_exists(project):
    project.run("create")
    assert (
        "t2sql exists: its state is PROVISIONING"
        in (project.run("create"), project.run("create"))[1]
    )
    assert len(project.calls(*CREATE)) == 1


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--accelerator-type=v9x-8", "no image is known"),
        ("--accelerator-type=large", "expected one such as v5litepod-16"),
        ("--acelerator-type=v6e-8", "unknown flag '--acelerator-type'"),
        ("--provisioning=cheap", "expected spot or on-demand"),
        ("--max-run-duration=4h", "Google takes one with flex-start only"),
        ("--reservation=mine", "give --provisioning=reserved"),
        ("--topology=4x8", "TOPOLOGY=4x8 has 32 chips, which is not v5litepod-16"),
        ("--topology=large", "expected one such as 4x4"),
        ("--valid-until-duration=soon", "'soon' is no duration"),
        ("--zone=", "ZONE is empty"),
        ("--name=T2SQL", "expected lower-case letters"),
        ("--poll-seconds=soon", "expected a number"),
        ("--max-hours=08", "expected a number"),
        ("--accelerator-type=v5litepod-08", "expected one such as v5litepod-16"),
        ("--settings=/no/such/file", "there is no such file"),
        ("--yes", "create.sh takes no --yes"),
        ("spot", "unexpected argument 'spot'"),
    ],
)
def test_wrong_settings_are_bad_input(project, flag, message):
    assert message in project.run("create", flag, code=2)
    assert not project.calls(*CREATE)


def test_a_misspelt_setting_in_a_file_is_bad_input(project, tmp_path):
    settings = tmp_path / "mine.sh"
    settings.write_text("ACELERATOR_TYPE=v6e-8\n")
    said = project.run("create", f"--settings={settings}", code=2)
    assert "there is no setting ACELERATOR_TYPE" in said
    assert not project.calls(*CREATE)


def test_a_file_of_settings_is_not_looked_for_on_the_path(project, tmp_path):
    (tmp_path / "true").write_text("NAME='mine'\n")
    command = project.command("create", "--settings=true")
    subprocess.run(command, cwd=tmp_path, env=project.environment, check=True)
    assert project.calls(*CREATE)[0][4] == "mine"


def test_a_call_of_gcloud_that_hangs_is_ended(project):
    (project.state.parent / "tools" / "gcloud").write_text("#!/bin/sh\nexec sleep 60\n")
    project.environment["T2SQL_LONGEST_CALL"] = "0.5"
    project.run("create", code=124)


# submit.sh


def test_submit_starts_the_job_of_one_commit_on_every_worker(pod):
    pod.run("submit", "--output=gs://bucket/run", "--", "--config.prompt=few_shot")
    assert states(pod) == [f"worker {i} running, restarted 0 times" for i in range(4)]
    for worker in range(4):
        arguments, worker_line, directory = (home(pod, worker) / "ran").read_text().splitlines()
        assert arguments == (
            "-m t2sql.main --config=configs/tpu_pod.py --config.output=gs://bucket/run"
            " --config.prompt=few_shot"
        )
        assert worker_line == f"{worker} of 4 at 127.0.0.1:8476"
        head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=directory, text=True)
        assert head.strip() == pod.commit


def test_submit_again_leaves_the_running_job_alone(granted):
    granted.run("submit", "--output=gs://bucket/run")
    assert "the job runs already" in granted.run("submit", "--output=gs://bucket/run")
    assert len((home(granted, 0) / "ran").read_text().splitlines()) == 3


def test_submit_of_another_job_is_refused_unless_it_is_to_restart(granted):
    granted.run("submit", "--output=gs://bucket/run")
    refused = granted.run("submit", "--output=gs://bucket/other", code=3)
    assert "runs another job" in refused
    assert "--restart" in refused
    granted.run("submit", "--output=gs://bucket/other", "--restart")
    assert "gs://bucket/other" in (home(granted, 0) / "ran").read_text()
    wait_until(lambda: sleeping_jobs() == 1)


def test_the_other_workers_meet_when_all_begin_and_nobody_afterwards(pod):
    line = 'echo "meets $T2SQL_MEETING_SECONDS" >>"$HOME/met"'
    pod.set_job(f'{line}; [ "$T2SQL_PROCESS_ID" = 3 ] && exit 75; exec sleep 30')
    pod.run("submit", "--output=gs://bucket/run", "--max-restarts=0")
    wait_until(lambda: (home(pod, 3) / "t2sql/job/exit-code").exists())
    pod.run("submit", "--output=gs://bucket/run", "--max-restarts=0")
    wait_until(lambda: (home(pod, 3) / "met").read_text() == "meets \nmeets 0\n")


def test_a_job_of_another_user_keeps_the_chips(granted):
    lock = home(granted, 0) / "chips"
    lock.touch()
    with subprocess.Popen(["flock", lock, "sleep", "60"]) as other:
        wait_until(lambda: subprocess.run(["flock", "-n", lock, "true"]).returncode)
        said = granted.run("submit", "--output=gs://bucket/run", code=3)
        other.kill()
    assert "a job of another user has the chips" in said
    assert not (home(granted, 0) / "ran").exists()


def test_workers_have_huge_pages_before_the_job_begins(granted):
    (home(granted, 0) / "huge-pages").write_text("always [madvise] never\n")
    granted.run("submit", "--output=gs://bucket/run")
    assert (home(granted, 0) / "huge-pages").read_text() == "always\n"


def wait_until(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def sleeping_jobs() -> int:
    return sum("sleep" in command_of(pid) for pid in fake_gcloud.worker_processes())


def command_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            return file.read().replace("\0", " ")
    except FileNotFoundError:
        return ""


def test_the_log_of_a_preempted_worker_is_in_the_bucket(granted, bucket, gcs_server):
    storage = {"STORAGE_EMULATOR_HOST": gcs_server.url, "T2SQL_LOG_SECONDS": "0.1"}
    granted.set_job("echo working; exec sleep 30", **storage)
    granted.run("submit", f"--output={bucket}/run")
    name = bucket.removeprefix("gs://")
    wait_until(lambda: any(b"working" in log for log in gcs_server.objects(name).values()))
    fake_gcloud.preempt()
    (log,) = gcs_server.objects(name)
    assert log.startswith("run/logs/worker-0-")


def test_submit_waits_for_no_slice(project):
    project.run("create")
    said = project.run("submit", "--output=gs://bucket/run", code=75)
    assert "its state is WAITING_FOR_RESOURCES" in said
    assert "launch/tpu/run.sh waits" in said


@pytest.mark.parametrize(
    "output",
    ["", "gs://bucket", "gs://bucket//", "gs://bucket/*", "gs://b*/run", "/tmp/run", "bucket/run"],
)
def test_submit_needs_a_run_directory_in_a_bucket(granted, output):
    assert "gs://BUCKET/RUN" in granted.run("submit", f"--output={output}", code=2)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--config.output=gs://bucket/other", "give --output before the --"),
        ("--config=configs/gpu.py", "give --config before the --"),
        ("--config.overwrite=True", "--fresh does it once"),
        ("config.data.limit=3", "written --NAME=VALUE"),
    ],
)
@pytest.mark.parametrize("script", ["submit", "run"])
def test_flags_of_the_job_that_are_settings_here_are_refused(project, script, flag, message):
    said = project.run(script, "--output=gs://bucket/run", "--", flag, code=2)
    assert message in said
    assert not project.calls()


def test_submit_refuses_a_commit_that_is_not_there(granted):
    said = granted.run("submit", "--output=gs://bucket/run", "--commit=deadbeef", code=2)
    assert "COMMIT is 'deadbeef'" in said


def test_fresh_deletes_the_old_run_once(granted, gcs_server, bucket):
    run = ("run.json", "predictions/unit-0.jsonl", "checksums/note.json", "broken/unit-0.jsonl")
    run += ("prepared/part.json",)
    for name in (*(f"run/{name}" for name in run), "running/kept"):
        fake_gcloud.put(f"{bucket}/{name}")
    assert "give --yes" in granted.run("submit", f"--output={bucket}/run", "--fresh", code=2)
    granted.run("submit", f"--output={bucket}/run", "--fresh", "--yes")
    assert list(gcs_server.objects(bucket.removeprefix("gs://"))) == ["running/kept"]


def test_fresh_deletes_no_more_than_one_run(granted, gcs_server, bucket):
    names = ["runs/a/run.json", "runs/b/predictions/unit-0.jsonl"]
    for name in names:
        fake_gcloud.put(f"{bucket}/{name}")
    said = granted.run("submit", f"--output={bucket}/runs", "--fresh", "--yes", code=3)
    assert "is not one run alone, there is also a/run.json" in said
    assert sorted(gcs_server.objects(bucket.removeprefix("gs://"))) == names


def test_a_lost_connection_is_noticed(granted):
    granted.run("submit", "--output=gs://bucket/run")
    for kind in ("ssh", "scp"):
        for call in granted.calls("compute", "tpus", "tpu-vm", kind):
            assert f"--{kind}-flag=-oServerAliveInterval=15" in call


def test_a_supervisor_that_cannot_start_is_no_endless_wait(granted):
    (home(granted, 0) / "t2sql" / "job" / "lock").mkdir(parents=True)
    said = granted.run("submit", "--output=gs://bucket/run", code=75)
    assert "worker 0: the supervisor did not start" in said


# Kaggle's login


def assert_secret_only_in_its_file(project) -> None:
    login = home(project, 0) / ".kaggle" / "kaggle.json"
    assert login.read_text() == '{"key": "s3cr3t"}'
    assert login.stat().st_mode & 0o077 == 0
    assert login.parent.stat().st_mode & 0o077 == 0
    for path in ("processes", "t2sql/job/log", "t2sql/job/what"):
        assert "s3cr3t" not in (home(project, 0) / path).read_text()
    assert "s3cr3t" not in (project.state / "calls.jsonl").read_text()


def test_the_login_comes_from_secret_manager(granted):
    (granted.state / "secrets").mkdir()
    (granted.state / "secrets" / "kaggle").write_text('{"key": "s3cr3t"}')
    said = granted.run("submit", "--output=gs://bucket/run", "--kaggle-secret=kaggle")
    assert "s3cr3t" not in said
    assert_secret_only_in_its_file(granted)


def test_the_login_comes_from_a_file(granted, tmp_path):
    login = tmp_path / "kaggle.json"
    login.write_text('{"key": "s3cr3t"}')
    login.chmod(0o644)
    flags = ("--output=gs://bucket/run", f"--kaggle-file={login}")
    assert "chmod 600" in granted.run("submit", *flags, code=2)
    login.chmod(0o600)
    assert "s3cr3t" not in granted.run("submit", *flags)
    assert_secret_only_in_its_file(granted)


# status.sh, logs.sh, delete.sh


def test_status_of_nothing(project):
    said = project.run("status")
    assert "queued resource t2sql: ABSENT" in said
    assert "costs money" not in said


def test_status_of_a_slice_that_is_waited_for(project):
    project.run("create")
    said = project.run("status")
    assert "queued resource t2sql: WAITING_FOR_RESOURCES" in said
    assert "costs money" not in said


def test_status_counts_units_where_no_worker_answers(granted, bucket):
    (granted.state / "ssh-refusals").write_text("99")
    said = granted.run("status", f"--output={bucket}/run")
    assert "gcloud cannot reach a worker" in said
    assert "costs money" in said
    assert "no unit is written: the run has not begun" in said


def test_status_counts_no_units_in_a_bucket_that_cannot_be_read(project):
    project.environment["STORAGE_EMULATOR_HOST"] = "http://127.0.0.1:1"
    said = project.run("status", "--output=gs://bucket/run", code=1)
    assert "units are written" not in said
    assert "JSONDecodeError" not in said


def test_a_bucket_that_cannot_be_read_shows_no_progress(project):
    """Where the shell does not end at an error, too: run.sh asks so."""
    project.environment["STORAGE_EMULATOR_HOST"] = "http://127.0.0.1:1"
    line = "set -euo pipefail; source launch/tpu/common.sh; OUTPUT=gs://bucket/run"
    said = subprocess.run(
        ["bash", "-c", f'{line}; said=$(progress) || said=nothing; echo "found $said"'],
        cwd=pods.ROOT,
        env=project.environment,
        capture_output=True,
        text=True,
    )
    assert said.stdout == "found nothing\n"


def test_status_of_a_slice_that_was_preempted_tells_of_no_costs(granted):
    fake_gcloud.preempt()
    said = granted.run("status")
    assert "TPU VM t2sql: PREEMPTED" in said
    assert "costs money" not in said


def test_logs_are_one_file_per_worker(pod):
    pod.set_job("echo this is $T2SQL_PROCESS_ID; exec sleep 30")
    pod.run("submit", "--output=gs://bucket/run")
    pod.run("logs")
    (logs,) = pod.results.glob("logs-*")
    for worker in range(4):
        assert f"this is {worker}\n" in (logs / f"{worker}.log").read_text()


def test_delete_asks_first(granted):
    assert "give --yes" in granted.run("delete", code=2)
    assert (granted.state / "slice.json").exists()
    assert "nothing of t2sql is left" in granted.run("delete", "--yes")
    assert not fake_gcloud.worker_processes()
    assert "There is no t2sql" in granted.run("delete", "--yes")


# run.sh


def test_a_rehearsal_runs_no_command(project):
    said = project.run(
        "run",
        "--output=gs://bucket/run",
        "--dry-run",
        "--report-data=sample",
        "--",
        "--config.a=b c",
    )
    assert not project.calls()
    commands = [line for line in said.splitlines() if line.startswith(("gcloud ", "python "))]
    kinds = [
        "queued-resources create",
        "tpu-vm scp",
        "worker.sh prepare",
        "worker.sh start 3 4",
        "storage ls",
        "queued-resources delete",
        "t2sql.report",
    ]
    places = [next(i for i, line in enumerate(commands) if kind in line) for kind in kinds]
    assert places == sorted(places)
    words = [line for line in commands if "worker.sh start 0" in line][0]
    assert subprocess.check_output(["bash", "-c", f"printf '%s\\n' {words}"], text=True).endswith(
        "--config.output=gs://bucket/run '--config.a=b c'\n"
    )


def test_a_rehearsal_asks_nothing_and_keeps_what_is_to_be_kept(project):
    said = project.run("submit", "--output=gs://bucket/run", "--fresh", "--dry-run")
    assert "gcloud storage rm" in said
    said = project.run("run", "--output=gs://bucket/run", "--keep", "--dry-run")
    assert "queued-resources create" in said
    assert "queued-resources delete" not in said


RUN = ("--accelerator-type=v6e-8", "--poll-seconds=0", "--max-restarts=0")


def test_run_gives_up_on_a_job_that_no_try_can_mend(project, bucket):
    project.set_job("echo wrong flag >&2; exit 2")
    said = project.run("run", f"--output={bucket}/run", *RUN, code=2)
    assert "every worker has ended" in said
    assert not (project.state / "slice.json").exists()
    (logs,) = project.results.glob("logs-*")
    assert "wrong flag" in (logs / "0.log").read_text()


def upload_done(project, bucket) -> str:
    """A line of shell by which the job of the last host ends a run."""
    put = f"{sys.executable} -c 'import fake_gcloud as g; g.put(\"{bucket}/run/done.json\")'"
    storage = f"STORAGE_EMULATOR_HOST={project.environment['STORAGE_EMULATOR_HOST']}"
    return f"PYTHONPATH={pathlib.Path(__file__).parent} {storage} {put}"


def interrupt_at(step: str, project, bucket) -> str:
    """Presses Ctrl-C when run.sh gives this command to gcloud; returns what it said."""
    before = len(project.calls())
    process = subprocess.Popen(
        project.command("run", f"--output={bucket}/run", *RUN),
        env=project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: any(step in " ".join(call) for call in project.calls()[before:]))
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=20)[0]
    assert process.returncode == 130, said
    return said


def test_a_run_that_is_interrupted_at_every_step_goes_on(project, bucket):
    project.set_job(upload_done(project, bucket))
    for step in ("queued-resources create", "tpu-vm scp", "worker.sh prepare", "worker.sh start"):
        assert "run this again to go on" in interrupt_at(step, project, bucket)
    said = project.run("run", f"--output={bucket}/run", *RUN)
    assert "The run is complete" in said
    assert not (project.state / "slice.json").exists()
    assert not fake_gcloud.worker_processes()


def test_run_submits_again_while_units_are_missing(project, bucket):
    upload = upload_done(project, bucket)
    project.set_job(f"[ -e once ] && {upload} && exit; touch once; exit 1")
    said = project.run("run", f"--output={bucket}/run", *RUN)
    assert said.count("Submitting commit") == 2
    assert "The run is complete" in said


def test_run_starts_a_worker_again_that_ended_while_others_run(pod, bucket):
    """As after maintenance: 143 from one of them, and units are missing."""
    upload = upload_done(pod, bucket)
    again = f'[ -e "$HOME/once" ] && {upload} && exit; touch "$HOME/once"; exit 143'
    pod.set_job(f'[ "$T2SQL_PROCESS_ID" = 2 ] || exec sleep 60; {again}')
    flags = ("--poll-seconds=0", "--max-restarts=0")
    said = pod.run("run", f"--output={bucket}/run", *flags)
    assert "A worker has ended while others run: submitting again" in said
    assert "The run is complete" in said


def test_waiting_for_a_slice_does_not_count_as_hours_of_it(project, bucket):
    (project.state / "waits").write_text("3")
    flags = (f"--output={bucket}/run", *RUN, "--poll-seconds=1", "--max-hours=0")
    said = project.run("run", *flags, code=75)
    assert said.count("t2sql is WAITING_FOR_RESOURCES") == 4
    assert "MAX_HOURS=0 are over" in said
    assert not (project.state / "slice.json").exists()


def test_a_request_that_ran_out_is_made_again(project, bucket):
    project.run("create")
    known = json.loads((project.state / "slice.json").read_text())
    known |= {"state": "FAILED", "created": "2026-01-01T00:00:00Z"}
    (project.state / "slice.json").write_text(json.dumps(known))
    project.set_job("exit 2")
    said = project.run("run", f"--output={bucket}/run", *RUN, "--max-requests=1", code=2)
    assert "t2sql was not granted within 6h: asking for it again" in said
    assert len(project.calls(*CREATE)) == 2
    assert "every worker has ended" in said


def test_run_gives_up_where_no_slice_is_ever_granted(project, bucket):
    project.run("create")
    known = json.loads((project.state / "slice.json").read_text())
    known |= {"state": "FAILED", "created": "2026-01-01T00:00:00Z"}
    (project.state / "slice.json").write_text(json.dumps(known))
    said = project.run("run", f"--output={bucket}/run", *RUN, "--max-requests=0", code=75)
    assert "no slice was granted: 0 requests ran out" in said


def test_run_gives_up_on_a_slice_that_is_always_preempted(project, bucket):
    flags = (f"--output={bucket}/run", *RUN, "--max-recreations=1")
    process = subprocess.Popen(
        project.command("run", *flags),
        env=project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while process.poll() is None:
        path = project.state / "slice.json"
        if path.exists() and json.loads(path.read_text())["state"] == "ACTIVE":
            fake_gcloud.preempt()
        time.sleep(0.05)
    said = process.communicate()[0]
    assert process.returncode == 75, said
    assert "was preempted 2 times" in said
    assert not (project.state / "slice.json").exists()


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--commit=deadbeef", "has no such commit"),
        ("--config=configs/no_such.py", "has no such file"),
        ("--kaggle-file=/no/such.json", "there is no such file"),
        ("--report-data=/no/such", "there is no such directory"),
    ],
)
def test_run_checks_what_it_can_before_there_is_a_slice(project, bucket, flag, message):
    assert message in project.run("run", f"--output={bucket}/run", *RUN, flag, code=2)
    assert not project.calls()


def test_run_needs_a_whole_clone_for_the_workers(project, bucket, tmp_path):
    (tmp_path / "shallow").write_text(f"{project.commit}\n")
    project.environment["GIT_SHALLOW_FILE"] = str(tmp_path / "shallow")
    said = project.run("run", f"--output={bucket}/run", code=2)
    assert "git fetch --unshallow" in said
    assert not project.calls()


def test_run_needs_gclouds_key_in_an_agent_that_holds_others(project, bucket):
    agent = project.state.parent / "tools" / "ssh-add"
    agent.write_text("#!/bin/sh\necho '256 SHA256:abc mine (ED25519)'\n")
    agent.chmod(0o755)
    said = project.run("run", f"--output={bucket}/run", code=2)
    assert "ssh-add" in said
    assert not project.calls()


def test_run_leaves_a_slice_that_does_other_work(granted, bucket):
    granted.run("submit", f"--output={bucket}/other")
    said = granted.run("run", f"--output={bucket}/run", *RUN, code=3)
    assert "runs another job" in said
    assert (granted.state / "slice.json").exists()
    assert fake_gcloud.worker_processes()


def test_run_ends_where_no_slice_can_be_asked_for(project, bucket):
    flags = (f"--output={bucket}/run", *RUN, "--runtime-version=no-such-image")
    said = project.run("run", *flags, code=75)
    assert "no-such-image is not for v6e" in said
    assert "failed 10 times in a row (above): check login, project and zone" in said
    assert len(project.calls(*CREATE)) == 10


@pytest.fixture
def finished(granted, bucket):
    """A slice with nothing left to do."""
    fake_gcloud.put(f"{bucket}/run/done.json")
    return granted


def fail_to_delete(project, times: int) -> None:
    known = json.loads((project.state / "slice.json").read_text())
    (project.state / "slice.json").write_text(json.dumps(known | {"stuck": times}))


def test_run_says_so_where_the_slice_cannot_be_deleted(finished, bucket):
    fail_to_delete(finished, 99)
    said = finished.run("run", f"--output={bucket}/run", *RUN, code=75)
    assert "t2sql COULD NOT BE DELETED" in said


def test_run_tries_again_to_delete_the_slice(finished, bucket):
    fail_to_delete(finished, 2)
    assert "nothing of t2sql is left" in finished.run("run", f"--output={bucket}/run", *RUN)
    assert not (finished.state / "slice.json").exists()


def test_run_pays_for_no_slice_while_the_report_is_made(finished, bucket, tmp_path):
    python = tmp_path / "report-python"
    python.write_text('#!/bin/sh\n! ls "$FAKE_GCLOUD/slice.json" && echo "$* without a slice"\n')
    python.chmod(0o755)
    finished.environment["T2SQL_PYTHON"] = str(python)
    said = finished.run("run", f"--output={bucket}/run", "--report-data=sample", *RUN)
    assert f"-m t2sql.report --predictions={bucket}/run" in said
    assert "without a slice" in said


def test_run_that_is_stopped_during_the_report_tells_of_no_slice(finished, bucket, tmp_path):
    python = tmp_path / "report-python"
    python.write_text("#!/bin/sh\necho reporting\nexec sleep 60\n")
    python.chmod(0o755)
    finished.environment["T2SQL_PYTHON"] = str(python)
    process = subprocess.Popen(
        finished.command("run", f"--output={bucket}/run", "--report-data=sample", *RUN),
        env=finished.environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    said = ""
    while "reporting" not in said:
        assert process.poll() is None
        said += process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    said += process.communicate(timeout=10)[0]
    assert "nothing of t2sql is left" in said
    assert "costs money" not in said


def test_run_gives_up_where_no_worker_can_be_reached(granted, bucket):
    (granted.state / "ssh-refusals").write_text("99")
    flags = (f"--output={bucket}/run", *RUN, "--max-idle-minutes=0")
    said = granted.run("run", *flags, code=75)
    assert "gcloud cannot reach a worker (above), for MAX_IDLE_MINUTES=0" in said
    assert not (granted.state / "slice.json").exists()


def test_run_gives_up_where_the_workers_cannot_be_set_up(granted, bucket):
    flags = (f"--output={bucket}/run", *RUN, "--max-idle-minutes=0", "--kaggle-secret=no-such")
    said = granted.run("run", *flags, code=75)
    assert "the job could not be submitted (above), for MAX_IDLE_MINUTES=0" in said
    assert not (granted.state / "slice.json").exists()


def test_run_gives_up_on_a_job_that_writes_nothing(granted, bucket):
    flags = (f"--output={bucket}/run", *RUN, "--max-stalled-minutes=0")
    said = granted.run("run", *flags, code=75)
    assert "the job runs, and wrote no unit for MAX_STALLED_MINUTES=0" in said
    assert not (granted.state / "slice.json").exists()
    assert list(granted.results.glob("logs-*/0.log"))


def test_run_connects_to_one_worker_again_where_that_failed(pod, bucket):
    pod.set_job("exit 2")
    (pod.state / "ssh-refusals").write_text("1")
    pod.run("run", f"--output={bucket}/run", *RUN, code=2)


def test_run_asks_for_no_slice_where_the_bucket_cannot_be_read(project, bucket):
    project.environment["STORAGE_EMULATOR_HOST"] = "http://127.0.0.1:1"
    said = project.run("run", f"--output={bucket}/run", *RUN, code=75)
    assert "failed 10 times in a row" in said
    assert not project.calls(*CREATE)


def test_run_does_not_bring_back_a_slice_that_somebody_deleted(project, bucket):
    process = subprocess.Popen(
        project.command("run", f"--output={bucket}/run", "--poll-seconds=2"),
        env=project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while "is WAITING" not in process.stdout.readline():
        assert process.poll() is None
    project.run("delete", "--yes")
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 3, said
    assert "somebody else deleted t2sql" in said
    assert len(project.calls(*CREATE)) == 1


def test_run_shows_why_a_request_failed(project, bucket):
    project.run("create")
    known = json.loads((project.state / "slice.json").read_text())
    (project.state / "slice.json").write_text(json.dumps(known | {"state": "FAILED"}))
    said = project.run("run", f"--output={bucket}/run", *RUN, code=1)
    assert "the request failed: out of capacity" in said
    assert not (project.state / "slice.json").exists()


def test_run_of_a_finished_run_asks_for_no_slice(project, bucket):
    fake_gcloud.put(f"{bucket}/run/done.json")
    assert "The run is complete" in project.run("run", f"--output={bucket}/run", *RUN)
    assert not project.calls(*CREATE)


def test_an_interrupted_run_says_that_the_slice_costs(project, bucket):
    process = subprocess.Popen(
        project.command("run", f"--output={bucket}/run", "--poll-seconds=30"),
        env=project.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    while "is WAITING" not in process.stdout.readline():
        assert process.poll() is None
    process.terminate()
    said = process.communicate(timeout=10)[0]
    assert process.returncode == 143
    assert "costs money" in said
    assert (project.state / "slice.json").exists()


def test_the_stand_in_refuses_what_gcloud_does_not_know(project):
    for arguments in (
        ["compute", "tpus", "queued-resources", "create", "x", "--zone=z", "--cheap"],
        ["compute", "tpus", "tpu-vm", "ssh", "x", "--zone=z", "--batch-size=4"],
        ["compute", "tpus", "queued-resources", "reboot", "x"],
    ):
        done = subprocess.run(["gcloud", *arguments], env=project.environment, capture_output=True)
        assert done.returncode != 0
