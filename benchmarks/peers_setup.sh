#!/usr/bin/env bash
# Makes the environments of the engines that benchmarks/peers.py and benchmarks/interchange.py compare
# with.
#
#   benchmarks/peers_setup.sh [DIR]      default: benchmarks/envs
#
# About 6 GB: torch brings its CUDA libraries along. llama.cpp is compiled for this machine.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
envs=${1:-$root/benchmarks/envs}
python=$root/.venv/bin/python
if [[ ! -x $python ]]; then
    echo "error: $python does not exist; run launch/setup.sh first" >&2
    exit 2
fi

make_env() {  # NAME PACKAGE...
    local env=$envs/$1
    shift
    echo "== $env: $*"
    [[ -x $env/bin/python ]] || "$python" -m venv "$env"
    "$env/bin/python" -m pip install --quiet "$@"
}

make_env transformers torch==2.13.0 transformers==5.23.0 gguf==0.19.0 accelerate==1.15.0 peft==0.21.2
CMAKE_ARGS=${CMAKE_ARGS:--DGGML_NATIVE=ON} make_env llama_cpp llama-cpp-python==0.3.36
echo "Done. Next: python -m benchmarks.peers --data=SPIDER_DIR --envs=$envs"
