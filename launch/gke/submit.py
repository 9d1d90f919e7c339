#!/usr/bin/env python3
"""Submits the job to a GKE cluster with JobSet: fills in the manifest and gives it to kubectl.

    launch/gke/submit.py --accelerator=v5e --topology=4x4 --slices=2 \\
        --image=REGION-docker.pkg.dev/PROJECT/REPOSITORY/t2sql:COMMIT \\
        --output=gs://BUCKET/runs/dev [--spot] [--dry-run] [-- FLAG OF t2sql.main ...]

--dry-run prints the manifest and runs nothing. Submitted again under the same --output the job
goes on where it was. No key is in the manifest: the pods reach the bucket through Workload
Identity, as docs/gke.md sets it up once.
"""

import argparse
import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

# Values of the node label cloud.google.com/gke-tpu-accelerator, from Google's page "Plan TPUs in
# GKE" (cloud.google.com/kubernetes-engine/docs/concepts/plan-tpus, read in December 2026).
ACCELERATORS = {
    "v4": "tpu-v4-podslice",
    "v5e": "tpu-v5-lite-podslice",
    "v5p": "tpu-v5p-slice",
    "v6e": "tpu-v6e-slice",
    "tpu7x": "tpu7x",
}
JOB = "host"  # of the JobSet; pods are called NAME-host-SLICE-HOST-...
BAD_INPUT, REFUSED = 2, 3  # t2sql/errors.py
_SPOT = "cloud.google.com/gke-spot"
# Annotations of a pod: its number in the Job, and that of the Job in the JobSet.
_POD_INDEX = "batch.kubernetes.io/job-completion-index"
_SLICE_INDEX = "jobset.sigs.k8s.io/job-index"


def main(arguments: Sequence[str]) -> int:
    split = arguments.index("--") if "--" in arguments else len(arguments)
    options = _parser().parse_args(arguments[:split])
    try:
        manifest = make_manifest(options, arguments[split + 1 :])
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    text = "\n".join(yaml_lines(manifest)) + "\n"
    if options.dry_run:
        print(text, end="")
        return 0
    command = ["kubectl", "apply", "--filename=-"]
    return subprocess.run(command, input=text, text=True, check=False).returncode


def make_manifest(options: argparse.Namespace, flags: Sequence[str]) -> dict[str, Any]:
    """The JobSet: a Job for each slice, in it a pod for each host.

    Raises:
      ValueError: names the flag, its value and what is expected.
    """
    _check(options, flags)
    hosts = math.prod(map(int, options.topology.split("x"))) // options.chips_per_host
    job = {
        "parallelism": hosts,
        "completions": hosts,
        "completionMode": "Indexed",
        # Every host works alone: one that fails is started again alone, and the others go on.
        "backoffLimitPerIndex": options.max_restarts,
        "activeDeadlineSeconds": options.max_hours * 3600,
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "FailJob",  # another try cannot mend these
                    "onExitCodes": {"operator": "In", "values": [BAD_INPUT, REFUSED]},
                },
                {
                    "action": "Ignore",  # preempted or drained: no restart of the pod's own
                    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                },
            ]
        },
        "template": {"spec": _pod(options, hosts, flags)},
    }
    metadata: dict[str, Any] = {"name": options.name, "namespace": options.namespace}
    # One slice, one node pool: hosts of two pools have no wires between their chips.
    metadata["annotations"] = {
        "alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"
    }
    if options.queue:
        metadata["labels"] = {"kueue.x-k8s.io/queue-name": options.queue}
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": metadata,
        "spec": {
            "failurePolicy": {
                "maxRestarts": options.max_restarts,
                "rules": [
                    {
                        "name": "badinput",
                        "action": "FailJobSet",
                        "onJobFailureReasons": ["PodFailurePolicy", "DeadlineExceeded"],
                    }
                ],
            },
            "replicatedJobs": [
                {"name": JOB, "replicas": options.slices, "template": {"spec": job}}
            ],
        },
    }


def _pod(options: argparse.Namespace, hosts: int, flags: Sequence[str]) -> dict[str, Any]:
    selector = {
        "cloud.google.com/gke-tpu-accelerator": ACCELERATORS[options.accelerator],
        "cloud.google.com/gke-tpu-topology": options.topology,
    }
    if options.spot:
        selector[_SPOT] = "true"
    container = {
        "name": "t2sql",
        "image": options.image,
        "args": [f"--config={options.config}", f"--config.output={options.output}", *flags],
        "env": _environment(options.slices, hosts),
        "resources": {
            "requests": {"google.com/tpu": options.chips_per_host},
            "limits": {"google.com/tpu": options.chips_per_host},
        },
        "volumeMounts": [{"name": "cache", "mountPath": "/home/t2sql/cache"}],
    }
    if options.privileged:
        container["securityContext"] = {"privileged": True, "runAsUser": 0}
    else:
        container["securityContext"] = {
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
    pod: dict[str, Any] = {
        "restartPolicy": "Never",  # as podFailurePolicy needs it; the Job makes new pods
        "serviceAccountName": options.service_account,
        "terminationGracePeriodSeconds": 30,
        "nodeSelector": selector,
        "containers": [container],
        "volumes": [{"name": "cache", "emptyDir": {}}],
        "securityContext": {"fsGroup": 1000},
    }
    if options.spot:
        pod["tolerations"] = [
            {"key": _SPOT, "operator": "Equal", "value": "true", "effect": "NoSchedule"}
        ]
    return pod


def _environment(slices: int, hosts: int) -> list[dict[str, Any]]:
    """Which host of how many a pod is, whatever GKE's device plugin says besides (docs/hosts.md).

    Nothing is left to be detected: whether GKE sets MEGASCALE_... depends on its version.
    """
    variables = {"T2SQL_MEETING_SECONDS": "0"}  # a pod that comes again finds nobody waiting
    fields = {}
    if hosts * slices > 1:
        variables["T2SQL_COORDINATOR"] = "nobody:8476"
        variables["T2SQL_NUM_PROCESSES"] = str(hosts if hosts > 1 else slices)
        fields["T2SQL_PROCESS_ID"] = _POD_INDEX if hosts > 1 else _SLICE_INDEX
    if hosts > 1 and slices > 1:
        variables["T2SQL_NUM_REPLICAS"] = str(slices)
        fields["T2SQL_REPLICA"] = _SLICE_INDEX
    return [{"name": name, "value": value} for name, value in variables.items()] + [
        {"name": name, "valueFrom": {"fieldRef": {"fieldPath": f"metadata.annotations['{field}']"}}}
        for name, field in fields.items()
    ]


def _check(options: argparse.Namespace, flags: Sequence[str]) -> None:
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){1,2}", options.topology):
        raise ValueError(f"--topology={options.topology}: expected one such as 4x4")
    chips = math.prod(map(int, options.topology.split("x")))
    options.chips_per_host = options.chips_per_host or min(chips, 4)
    if chips % options.chips_per_host:
        raise ValueError(
            f"--topology={options.topology}: {chips} chips are no multiple of "
            f"--chips-per-host={options.chips_per_host}"
        )
    if not re.fullmatch(r"gs://[^/]+/.+", options.output):
        raise ValueError(f"--output={options.output}: expected gs://BUCKET/RUN")
    # The names of pods are made of it, with at most 63 characters.
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", options.name):
        raise ValueError(f"--name={options.name}: expected up to 40 of a-z, 0-9 and -, a-z first")
    if ":" not in options.image.rpartition("/")[2] or options.image.endswith(":latest"):
        raise ValueError(f"--image={options.image}: name one version, as IMAGE:COMMIT")
    for flag in flags:
        if not re.match(r"--\w", flag):
            raise ValueError(f"{flag!r} is no flag of t2sql.main: each is written --NAME=VALUE")
        if re.match(r"--(no)?config(=|\.output|\.overwrite|$)", flag):
            raise ValueError(
                f"{flag}: give --config and --output before the --; a job that "
                "overwrites would start over after every restart"
            )


def _positive(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--accelerator", choices=ACCELERATORS, required=True, help="generation of the TPU")
    add("--topology", required=True, help="chips of one slice, such as 4x4 or 2x2x2")
    add("--chips-per-host", type=_positive, help="4, where the machine type has no 8 or 1")
    add("--slices", type=_positive, default=1, help="a node pool each; they never meet")
    add("--image", required=True, help="built from launch/gke/Dockerfile")
    add("--output", required=True, help="run directory, gs://BUCKET/RUN")
    add("--config", default="configs/tpu_pod.py")
    add("--name", default="t2sql")
    add("--namespace", default="default")
    add("--service-account", default="t2sql", help="of Kubernetes, bound by Workload Identity")
    add("--queue", default="", help="Kueue's LocalQueue; without it the job starts at once")
    add("--spot", action="store_true", help="on nodes that may be preempted")
    add("--privileged", action="store_true", help="where the chips cannot be opened otherwise")
    add("--max-restarts", type=_positive, default=10, help="of one host, after crashes")
    add(
        "--max-hours",
        type=_positive,
        default=12,
        help="from when the pods are made, with the wait for nodes",
    )
    add("--dry-run", action="store_true", help="prints the manifest")
    return parser


def yaml_lines(value: Any, indent: str = "") -> Iterator[str]:
    """The lines of a dict of dicts, lists and scalars, as YAML that people can read."""
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield f"{indent}{key}:"
            yield from yaml_lines(inner, indent + "  ")
        elif isinstance(inner, list) and inner:
            yield f"{indent}{key}:"
            for item in inner:
                yield from _yaml_item(item, indent)
        else:
            yield f"{indent}{key}: {json.dumps(inner)}"


def _yaml_item(item: Any, indent: str) -> Iterator[str]:
    if not isinstance(item, dict):
        yield f"{indent}- {json.dumps(item)}"
        return
    first, *rest = yaml_lines(item, indent + "  ")
    yield f"{indent}- {first.strip()}"
    yield from rest


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
