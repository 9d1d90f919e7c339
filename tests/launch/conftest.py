"""A Google Cloud whose gcloud is the stand-in, for the tests of launch/tpu."""

import json
import os
import pathlib
import subprocess
import sys

import fake_gcloud
import pytest

REPOSITORY = pathlib.Path(__file__).parents[2]


class Cloud:
    """A project with the stand-in for gcloud.

    Attributes:
      state: what the stand-in remembers.
      environment: of the machine from which the scripts are run.
    """

    def __init__(self, root: pathlib.Path, storage_url: str, commit: str):
        self.commit = commit
        self.state, tools = root / "cloud", root / "tools"
        self.results = root / "results"
        self.state.mkdir()
        tools.mkdir()
        _script(tools / "gcloud", f'exec "{sys.executable}" -S "{fake_gcloud.__file__}" "$@"')
        self.environment = {
            **os.environ,
            "PATH": f"{tools}:{os.environ['PATH']}",
            "FAKE_GCLOUD": str(self.state),
            "STORAGE_EMULATOR_HOST": storage_url,
            "T2SQL_PYTHON": sys.executable,
            "SSH_AUTH_SOCK": "",  # the developer's agent is none of these tests' business
        }
        self.set_worker_environment(STORAGE_EMULATOR_HOST=storage_url, T2SQL_PYTHON=sys.executable)

    def set_worker_environment(self, **variables: str) -> None:
        """Sets what the workers have besides a home and the tools."""
        common = {"PATH": self.environment["PATH"], "FAKE_GCLOUD": str(self.state)}
        (self.state / "worker_env.json").write_text(json.dumps(common | variables))

    def command(self, script: str, *flags: str) -> list[str]:
        """The command line of a script of launch/tpu, for this repository as it is."""
        common = ["--zone=us-west4-a", f"--commit={self.commit}", f"--results={self.results}"]
        return [str(REPOSITORY / "launch" / "tpu" / f"{script}.sh"), *common, *flags]

    def run(self, script: str, *flags: str, code: int = 0) -> str:
        """Runs a script and returns what it prints; its exit code has to be `code`."""
        done = subprocess.run(
            self.command(script, *flags),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def calls(self, *command: str) -> list[list[str]]:
        """All calls of gcloud, or those of one command, in order."""
        path = self.state / "calls.jsonl"
        calls = (
            [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        )
        return [call for call in calls if tuple(call[: len(command)]) == command]


@pytest.fixture(scope="session")
def commit(tmp_path_factory) -> str:
    """A commit of the working tree, which no branch and no index knows of."""
    index = tmp_path_factory.mktemp("index") / "index"
    author = dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "test")
    email = dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "test@localhost")
    environment = {**os.environ, "GIT_INDEX_FILE": str(index), **author, **email}

    def git(*arguments: str) -> str:
        return subprocess.check_output(
            ["git", *arguments], cwd=REPOSITORY, env=environment, text=True
        ).strip()

    git("read-tree", "HEAD")
    git("add", "--all")
    return git("commit-tree", git("write-tree"), "-m", "the working tree")


@pytest.fixture(scope="session")
def pod_cache(tmp_path_factory) -> pathlib.Path:
    """What the pods of all tests fetch and compile."""
    return tmp_path_factory.mktemp("pod-cache")


@pytest.fixture
def cloud(tmp_path, gcs_server, commit, monkeypatch):
    """A project without any slice."""
    made = Cloud(tmp_path, gcs_server.url, commit)
    monkeypatch.setattr(fake_gcloud, "STATE", made.state)
    yield made
    fake_gcloud.remove_workers()


def _script(path: pathlib.Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
