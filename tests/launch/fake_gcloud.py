"""A stand-in for gcloud: a TPU slice whose workers are processes of this machine.

Run as a program it takes gcloud's arguments. It knows the commands and flags of ALLOWED alone,
which are those of Google's reference of gcloud; anything else it refuses, as gcloud does. What it
remembers is in the directory that FAKE_GCLOUD names:

    calls.jsonl           the arguments of every call
    slice.json            the queued resource, where there is one
    workers/0, 1...       home directories of the workers
    worker_env.json       environment of the workers besides HOME and PATH
    secrets/NAME          what Secret Manager holds
    ssh-refusals          how many of the next connections fail
    waits                 at how many looks a request still waits
"""

import contextlib
import json
import math
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse

STATE = pathlib.Path(os.environ.get("FAKE_GCLOUD", "."))
# By command: flags with a value, flags without one.
WIDE = ({"project", "format", "flatten"}, {"quiet"})
SSH = ({"zone", "worker", "strict-host-key-checking"}, {"internal-ip"})
QUEUED = ("compute", "tpus", "queued-resources")
VM = ("compute", "tpus", "tpu-vm")
CREATE = (
    {"zone", "node-id", "runtime-version", "valid-until-duration", "labels"}
    | {"network", "subnetwork", "service-account"},
    {"spot", "reserved", "async", "internal-ips"},
)
ALLOWED = {
    (*QUEUED, "create"): (CREATE[0] | {"accelerator-type"}, CREATE[1]),
    ("alpha", *QUEUED, "create"): (
        CREATE[0]
        | {"accelerator-type", "type", "topology", "provisioning-model", "max-run-duration"}
        | {"reservation", "boot-disk"},
        CREATE[1],
    ),
    (*QUEUED, "describe"): ({"zone"}, set()),
    (*QUEUED, "delete"): ({"zone"}, {"force", "async"}),
    (*VM, "describe"): ({"zone"}, set()),
    (*VM, "delete"): ({"zone"}, {"async"}),
    (*VM, "ssh"): (SSH[0] | {"command", "output-directory", "ssh-flag"}, SSH[1]),
    (*VM, "scp"): (SSH[0] | {"scp-flag"}, SSH[1] | {"recurse", "compress"}),
    ("storage", "ls"): (set(), {"recursive"}),
    ("storage", "cat"): (set(), set()),
    ("storage", "cp"): (set(), set()),
    ("storage", "rm"): (set(), {"recursive"}),
    ("secrets", "versions", "access"): ({"secret", "out-file"}, set()),
}
# A request goes through these, one at each look.
GRANTING = ["WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]
HOSTS = {"v5litepod-16": 4, "v6e-8": 1}
EXPECTED_IMAGES = {"v5litepod": "v2-alpha-tpuv5-lite", "v6e": "v2-alpha-tpuv6e"}


class Refusal(Exception):
    """What gcloud would print, with exit code 1."""


def main(arguments: list[str]) -> int:
    STATE.mkdir(parents=True, exist_ok=True)
    with (STATE / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps(arguments) + "\n")
    command, names, flags = parse(arguments)
    try:
        return HANDLERS[command](names, flags) or 0
    except Refusal as refusal:
        print(f"ERROR: (gcloud.{'.'.join(command)}) {refusal}", file=sys.stderr)
        return 1


def parse(arguments: list[str]) -> tuple[tuple[str, ...], list[str], dict[str, str]]:
    """Splits a call into command, positional arguments and flags; ends where gcloud would."""
    command = next((c for c in ALLOWED if tuple(arguments[: len(c)]) == c), None)
    if command is None:
        sys.exit(f"ERROR: (gcloud) Invalid choice: {arguments!r}")
    with_value, without = (own | wide for own, wide in zip(ALLOWED[command], WIDE, strict=True))
    names, flags = [], {}
    for argument in arguments[len(command) :]:
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("-"):
            names.append(argument)
        elif name not in (with_value if equals else without):
            sys.exit(f"ERROR: (gcloud.{'.'.join(command)}) unrecognized arguments: {argument}")
        else:
            flags[name] = value
    return command, names, flags


def read_slice(name: str) -> dict:
    path = STATE / "slice.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    if known.get("name") != name:
        raise Refusal(f"NOT_FOUND: Resource '{name}' was not found")
    return known


def write_slice(known: dict) -> None:
    new = STATE / f"slice.{os.getpid()}"
    new.write_text(json.dumps(known))
    new.replace(STATE / "slice.json")


def create(names, flags):
    if (STATE / "slice.json").exists():
        raise Refusal(f"ALREADY_EXISTS: Resource '{names[0]}' already exists")
    if "max-run-duration" in flags and flags.get("provisioning-model") != "flex-start":
        raise Refusal("INVALID_ARGUMENT: max-run-duration is used with flex-start")
    if "topology" in flags:
        sides = map(int, flags["topology"].split("x"))
        flags["accelerator-type"] = f"{flags['type']}-{math.prod(sides)}"
    generation = flags["accelerator-type"].rpartition("-")[0]
    if flags["runtime-version"] != EXPECTED_IMAGES[generation]:
        raise Refusal(f"INVALID_ARGUMENT: {flags['runtime-version']} is not for {generation}")
    hosts = HOSTS[flags["accelerator-type"]]
    known = {"name": names[0], "state": GRANTING[0], "hosts": hosts, "warm": False}
    write_slice(known | {"created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})


def describe_queued(names, flags):
    known = read_slice(names[0])
    answers = {"value(state.state)": known["state"], "value(createTime)": known.get("created")}
    print(answers.get(flags["format"], "out of capacity"))
    if flags["format"] == "value(state.state)" and known["state"] in GRANTING[:-1] and granted():
        known["state"] = GRANTING[GRANTING.index(known["state"]) + 1]
        if known["state"] == "ACTIVE":
            boot(known["hosts"])
        write_slice(known)


def granted() -> bool:
    """Whether a request that is looked at goes on."""
    path = STATE / "waits"
    left = int(path.read_text()) if path.exists() else 0
    path.write_text(str(max(0, left - 1)))
    return left == 0


def grant(hosts: int) -> None:
    """A slice is there, as if it had been asked for and waited for."""
    write_slice({"name": "t2sql", "state": "ACTIVE", "hosts": hosts, "warm": False})
    boot(hosts)


def boot(hosts: int) -> None:
    for index in range(hosts):
        (STATE / "workers" / str(index)).mkdir(parents=True)


def delete_queued(names, flags):
    known = read_slice(names[0])
    if known["state"] == "ACTIVE" and "force" not in flags:
        raise Refusal("FAILED_PRECONDITION: the nodes have to be deleted first")
    if known.get("stuck", 0) > 0:
        write_slice(known | {"stuck": known["stuck"] - 1})
        raise Refusal("UNAVAILABLE: the service is currently unavailable")
    remove_workers()
    (STATE / "slice.json").unlink()


def read_vm(name: str) -> dict:
    known = read_slice(name)
    if known["state"] in GRANTING[:-1] or known["state"] == "FAILED":
        raise Refusal(f"NOT_FOUND: Resource '{name}' was not found")
    return known


def describe_vm(names, flags):
    known = read_vm(names[0])
    if flags.get("flatten") == "networkEndpoints[]":
        print("\n".join(["127.0.0.1"] * known["hosts"]))
    else:
        print("READY" if known["state"] == "ACTIVE" else "PREEMPTED")


def delete_vm(names, flags):
    read_vm(names[0])
    raise Refusal("FAILED_PRECONDITION: the node belongs to a queued resource")


def homes(name: str, worker: str) -> list[pathlib.Path]:
    """Home directories of the workers; the first connection has to be to one of them alone."""
    known = read_vm(name)
    refuse_ssh()
    if known["state"] != "ACTIVE":
        raise Refusal("the TPU is in state PREEMPTED: SSH is not possible")
    if worker == "all" and not known["warm"]:
        raise Refusal("the SSH keys of the workers differ: connect to one of them first")
    write_slice(known | {"warm": True})
    chosen = range(known["hosts"]) if worker == "all" else [int(worker)]
    return [STATE / "workers" / str(index) for index in chosen]


def refuse_ssh() -> None:
    path = STATE / "ssh-refusals"
    left = int(path.read_text()) if path.exists() else 0
    if left:
        path.write_text(str(left - 1))
        raise Refusal("[/usr/bin/ssh] exited with return code [255].")


def ssh(names, flags):
    directory = flags.get("output-directory")
    if directory is not None and not os.path.isdir(directory):
        raise Refusal(f"{directory} is not a directory")
    sessions = []
    with contextlib.ExitStack() as files:
        for home in homes(names[0], flags["worker"]):
            log = directory and files.enter_context(open(f"{directory}/{home.name}.log", "w"))
            sessions.append(start_session(home, flags["command"], log))
    return max(session.wait() for session in sessions)


def start_session(home: pathlib.Path, command: str, output) -> subprocess.Popen:
    environment = json.loads((STATE / "worker_env.json").read_text())
    environment |= {"HOME": str(home), "FAKE_WORKER_OF": str(STATE)}
    environment |= {"T2SQL_CHIPS": f"{home}/chips", "T2SQL_HUGE_PAGES": f"{home}/huge-pages"}
    return subprocess.Popen(
        ["bash", "-c", command],
        cwd=home,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        start_new_session=True,
    )


def scp(names, flags):
    source, target = names
    name, _, path = target.partition(":")
    for home in homes(name, flags["worker"]):
        if not (home / path).parent.is_dir():
            raise Refusal(f"scp: {path}: No such file or directory")
        shutil.copyfile(source, home / path)


def preempt() -> None:
    """The slice is taken away: every process of its workers dies at once."""
    known = json.loads((STATE / "slice.json").read_text())
    write_slice(known | {"state": "SUSPENDED"})
    remove_workers()


def remove_workers() -> None:
    while pids := worker_processes():
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    shutil.rmtree(STATE / "workers", ignore_errors=True)


def worker_processes() -> list[int]:
    """Processes that came from a session on one of the workers."""
    mark = f"FAKE_WORKER_OF={STATE}".encode()
    pids = []
    for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in path.read_bytes().split(b"\0"):
                pids.append(int(path.parent.name))
    return pids


def api(path: str, method: str = "GET", body: bytes | None = None, **query: str) -> bytes:
    import urllib.request  # takes as long as all the rest of most calls

    url = f"{os.environ['STORAGE_EMULATOR_HOST']}{path}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(urllib.request.Request(url, body, method=method)) as reply:
        return reply.read()


def matching(url: str) -> list[tuple[str, str]]:
    """Buckets and names of the objects that a URL stands for: itself, DIR/ or DIR/**."""
    bucket, _, name = url.removeprefix("gs://").partition("/")
    prefix = name.removesuffix("**")
    listed = json.loads(api(f"/storage/v1/b/{bucket}/o", prefix=prefix, maxResults="10000"))
    names = [item["name"] for item in listed.get("items", [])]
    if prefix == name and not name.endswith("/"):
        names = [other for other in names if other == name]
    return [(bucket, name) for name in names]


def put(url: str, data: bytes = b"{}") -> None:
    """Stores an object."""
    bucket, _, name = url.removeprefix("gs://").partition("/")
    path = f"/upload/storage/v1/b/{bucket}/o"
    api(path, method="POST", body=data, uploadType="media", name=name)


def copy(names, flags):
    put(names[1], pathlib.Path(names[0]).read_bytes())


def list_objects(names, flags):
    objects = matching(names[0])
    if not objects:
        raise Refusal("One or more URLs matched no objects.")
    print("\n".join(f"gs://{bucket}/{name}" for bucket, name in objects))


def cat(names, flags):
    for bucket, name in matching(names[0]):
        name = urllib.parse.quote(name, safe="")
        sys.stdout.buffer.write(api(f"/download/storage/v1/b/{bucket}/o/{name}", alt="media"))


def remove(names, flags):
    suffix = "/**" if "recursive" in flags else ""
    for bucket, name in matching(names[0] + suffix):
        api(f"/storage/v1/b/{bucket}/o/{urllib.parse.quote(name, safe='')}", method="DELETE")


def access_secret(names, flags):
    if names != ["latest"]:
        raise Refusal(f"NOT_FOUND: no version {names}")
    # The worker's own gcloud: Secret Manager is beside the slice.
    shutil.copyfile(STATE / "secrets" / flags["secret"], flags["out-file"])


HANDLERS = {
    (*QUEUED, "create"): create,
    ("alpha", *QUEUED, "create"): create,
    (*QUEUED, "describe"): describe_queued,
    (*QUEUED, "delete"): delete_queued,
    (*VM, "describe"): describe_vm,
    (*VM, "delete"): delete_vm,
    (*VM, "ssh"): ssh,
    (*VM, "scp"): scp,
    ("storage", "ls"): list_objects,
    ("storage", "cat"): cat,
    ("storage", "cp"): copy,
    ("storage", "rm"): remove,
    ("secrets", "versions", "access"): access_secret,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
