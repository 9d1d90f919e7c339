"""`launch/gke`: the manifest against the published schemas, and its pods as processes."""

import pathlib
import re
import subprocess
import sys

import kubernetes_validate
import pods as pods_lib
import pytest
import yaml
from kubeflow_trainer_api import models

from t2sql.runtime import distributed

GKE = pathlib.Path(__file__).parents[2] / "launch" / "gke"
IMAGE = "europe-docker.pkg.dev/project/repository/t2sql:0123abc"


def submit(*flags: str, code: int = 0, **changes: str) -> str:
    values = {"accelerator": "v5e", "topology": "2x4", "image": IMAGE, "output": "gs://b/run"}
    command = [f"--{name.replace('_', '-')}={value}" for name, value in (values | changes).items()]
    done = subprocess.run(
        [sys.executable, "-S", GKE / "submit.py", *command, "--dry-run", *flags],
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def manifest(*flags: str, **changes: str) -> dict:
    return yaml.safe_load(submit(*flags, **changes))


def pod_of(jobset: dict) -> dict:
    (replicated,) = jobset["spec"]["replicatedJobs"]
    return replicated["template"]["spec"]["template"]["spec"]


@pytest.mark.parametrize(
    ("flags", "changes"),
    [
        ([], {}),
        (["--spot"], {"slices": "3", "queue": "tpus"}),
        (["--privileged"], {"accelerator": "v6e", "topology": "2x4", "chips_per_host": "8"}),
        (["--", "--config.model.name=a b: 'c'"], {"accelerator": "tpu7x", "topology": "2x2x2"}),
    ],
)
def test_the_manifest_keeps_to_the_published_schemas(flags, changes):
    """JobSet's own, then that of Kubernetes for the Job in it; neither knows an unknown field."""
    jobset = manifest(*flags, **changes)
    parsed = models.JobsetV1alpha2JobSet.from_dict(jobset)
    assert parsed.to_dict() == jobset
    template = jobset["spec"]["replicatedJobs"][0]["template"]
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, **template}
    kubernetes_validate.validate(job, "1.33", strict=True)


def test_the_validator_refuses_what_kubernetes_does_not_know():
    template = manifest()["spec"]["replicatedJobs"][0]["template"]
    template["spec"]["backofLimit"] = 3
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, **template}
    with pytest.raises(kubernetes_validate.ValidationError, match="backofLimit"):
        kubernetes_validate.validate(job, "1.33", strict=True)


def test_a_slice_has_a_pod_for_each_host_on_the_right_nodes():
    jobset = manifest("--spot", topology="4x4", slices="2", queue="tpus")
    (replicated,) = jobset["spec"]["replicatedJobs"]
    assert replicated["replicas"] == 2
    assert replicated["template"]["spec"]["completions"] == 4
    pod = pod_of(jobset)
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
        "cloud.google.com/gke-spot": "true",
    }
    assert pod["containers"][0]["resources"]["limits"] == {"google.com/tpu": 4}
    assert jobset["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "tpus"}


def test_the_container_is_no_root_and_holds_no_key():
    jobset = manifest()
    security = pod_of(jobset)["containers"][0]["securityContext"]
    assert security["runAsNonRoot"] is True
    assert not re.search("(?i)secret|key.?file|credential", str(jobset))
    dockerfile = (GKE / "Dockerfile").read_text()
    assert re.search(r"^USER 1000", dockerfile, re.MULTILINE)
    assert re.search(r"^ARG BASE=python:3\.12\.\d+-", dockerfile, re.MULTILINE)
    assert "--constraint=requirements/constraints.txt" in dockerfile


@pytest.mark.parametrize(
    ("changes", "flags", "message"),
    [
        ({"accelerator": "v9"}, [], "invalid choice: 'v9'"),
        ({"topology": "16"}, [], "--topology=16: expected one such as 4x4"),
        ({"topology": "2x3"}, [], "6 chips are no multiple of --chips-per-host=4"),
        ({"output": "runs/dev"}, [], "expected gs://BUCKET/RUN"),
        ({"image": "t2sql"}, [], "name one version"),
        ({"name": "T2SQL"}, [], "--name=T2SQL"),
        ({"slices": "0"}, [], "'0' is no number above 0"),
        ({}, ["--", "--config.output=gs://b/x"], "give --config and --output before the --"),
        ({}, ["--", "x=3"], "'x=3' is no flag of t2sql.main"),
    ],
)
def test_wrong_flags_are_bad_input(changes, flags, message):
    assert message in submit(*flags, code=2, **changes)


def environment_of(jobset: dict, slice_id: int, host: int) -> dict[str, str]:
    """The container's variables, as Kubernetes fills them in for one pod."""
    annotations = {
        "metadata.annotations['batch.kubernetes.io/job-completion-index']": str(host),
        "metadata.annotations['jobset.sigs.k8s.io/job-index']": str(slice_id),
    }
    own = {
        entry["name"]: entry.get("value")
        or annotations[entry["valueFrom"]["fieldRef"]["fieldPath"]]
        for entry in pod_of(jobset)["containers"][0]["env"]
    }
    given = {"MEGASCALE_SLICE_ID": str(slice_id), "TPU_WORKER_ID": str(host)}
    given["MEGASCALE_COORDINATOR_ADDRESS"] = "t2sql-host-0-0.t2sql:8080"
    return pods_lib.GKE_ENVIRONMENT | given | {"JOB_COMPLETION_INDEX": str(host)} | own


@pytest.mark.parametrize(
    ("topology", "slices", "slice_id", "host", "expected"),
    [
        ("2x2", "2", 1, 0, "process 1 of 2 (given explicitly)"),
        ("4x4", "1", 0, 3, "process 3 of 4 (given explicitly)"),
        ("4x4", "2", 1, 3, "process 7 of 8 (given explicitly, replica 1 of 2)"),
    ],
)
def test_every_pod_knows_which_host_it_is(topology, slices, slice_id, host, expected):
    jobset = manifest(topology=topology, slices=slices)
    process = distributed.start(environment_of(jobset, slice_id, host))
    assert process.description == f"{expected}, meeting nobody"


@pytest.mark.slow
def test_the_pods_of_two_slices_compute_each_unit_once(tmp_path, pod_cache):
    """The container's entry as four processes, with what GKE's device plugin gives beside."""
    jobset = manifest(slices="2")
    pods_lib.write_data(tmp_path / "data")
    pods = pods_lib.Pods(tmp_path, pod_cache)
    output = tmp_path / "run"
    hosts = [
        pods.start_host(output, **environment_of(jobset, slice_id, host))
        for slice_id in (0, 1)
        for host in (0, 1)
    ]
    told = []
    for host in hosts:
        told.append(host.communicate(timeout=240)[0])
        assert host.returncode == 0, told[-1]
    for index, said in enumerate(told):
        assert f"host: process {index} of 4 (given explicitly, replica {index // 2} of 2)" in said
        assert "meeting nobody" in said
        assert "Computed twice" not in said
    assert "done.json" in pods_lib.objects(output)
