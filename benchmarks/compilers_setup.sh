#!/usr/bin/env bash
# Fetches XLA's TPU and GPU compilers, which need no device, for benchmarks/accelerators and
# tests/accelerators.
#
#   benchmarks/compilers_setup.sh [DIR]      default: benchmarks/envs/compilers
#
# Exact versions: requirements/compilers.txt. 1.4 GB on disk. They go into a folder of their own:
# in .venv, libtpu and the CUDA plugin would have every JAX process look for a device first.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=${1:-$root/benchmarks/envs/compilers}
uv=$root/.uv/tool/bin/uv
if [[ ! -x $uv ]]; then
    echo "error: $uv does not exist; run launch/setup.sh first" >&2
    exit 2
fi
if cmp --silent "$root/requirements/compilers.txt" "$folder/requirements.txt"; then
    exit 0
fi
rm -rf -- "$folder"
echo "Fetching XLA's TPU and GPU compilers into $folder (half a gigabyte)"
"$uv" pip install --quiet --no-deps --python "$root/.venv/bin/python" --target "$folder" \
    --requirement "$root/requirements/compilers.txt"
cp -- "$root/requirements/compilers.txt" "$folder/requirements.txt"
