"""Where predictions came from, out of a run's `run.json`."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any


def of_run(manifest: Mapping[str, Any] | None) -> dict[str, Any]:
    """`system.provenance` of `report.json`: what made the predictions; {} for a file."""
    if manifest is None:
        return {}
    fingerprint, recorded = manifest["fingerprint"], manifest.get("recorded", {})
    model = _mapping(fingerprint.get("model"))
    return {
        "model": model.get("name"),
        "weights_sha256": model.get("weights_sha256"),
        "adapter": _named(fingerprint.get("adapter")),
        "prompt": _named(fingerprint.get("prompt")),
        "sampling": fingerprint.get("sampling"),
        "dtype": fingerprint.get("dtype"),
        "data": fingerprint.get("data"),
        "command": recorded.get("command"),
        "commit": recorded.get("commit"),
        "hosts": recorded.get("hosts"),
        "versions": recorded.get("versions"),
        "created": recorded.get("created"),
    }


def name(source: str, manifest: Mapping[str, Any] | None) -> str:
    """What to call a system: its model (and adapter), or its file."""
    last = PurePosixPath(source.rstrip("/")).name or source
    if manifest is None:
        return last
    found = of_run(manifest)
    model = str(found["model"] or last)
    return f"{model} + adapter" if found["adapter"] else model


def _named(value: Any) -> Any:
    """The name out of a name and its hash."""
    return value.get("name", value) if isinstance(value, Mapping) else value


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
