#!/usr/bin/env bash
# The main job on all NVIDIA GPUs of this machine, with configs/gpu.py.
#
#   launch/gpu.sh [--config=FILE] [--config.KEY=VALUE ...]
#
# Writes to a new directory runs/gpu-TIME where no --config.output is given. JAX takes 90 % of the
# GPU's memory (XLA_PYTHON_CLIENT_MEM_FRACTION). Needs the NVIDIA driver, 580 or newer; CUDA itself
# comes with the packages.
set -euo pipefail
# shellcheck source=launch/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

readonly OLDEST_DRIVER=580 # of CUDA 13, which the [gpu] extra brings

main() {
  case ${1:-} in -h | --help) usage_of "$0" && return ;; esac
  check_driver
  set_up weights gpu
  # JAX alone takes 75 %, and falls back to the CPU with a mere warning.
  export XLA_PYTHON_CLIENT_MEM_FRACTION=${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.9}
  export JAX_PLATFORMS=cuda,cpu
  check_jax
  local flags=()
  given --config "$@" || flags+=(--config="$ROOT/configs/gpu.py")
  given --config.output "$@" ||
    flags+=(--config.output="$(new_directory "$ROOT/runs/gpu-$(date +%Y%m%d-%H%M%S)")")
  exec "$PYTHON" -m t2sql.main "${flags[@]}" "$@"
}

check_driver() {
  local seen driver
  type -P nvidia-smi >/dev/null ||
    die "no NVIDIA driver here (nvidia-smi is not on the PATH). Without a GPU: launch/quickstart.sh"
  seen=$(nvidia-smi --query-gpu=driver_version,name,memory.total --format=csv,noheader 2>&1) ||
    die "nvidia-smi sees no GPU: $seen"
  [[ -n $seen ]] || die "nvidia-smi sees no GPU"
  driver=${seen%%.*}
  [[ $driver =~ ^[0-9]+$ ]] || die "nvidia-smi sees no GPU: $seen"
  ((driver >= OLDEST_DRIVER)) ||
    die "the NVIDIA driver is ${seen%%,*}: the CUDA 13 packages need $OLDEST_DRIVER or newer"
  say "GPU: ${seen//$'\n'/; }"
}

check_jax() {
  local answer
  answer=$("$PYTHON" -c 'import jax; print(*jax.devices("gpu"))' 2>&1) || {
    printf '%s\n' "$answer" >&2
    die "nvidia-smi sees a GPU, JAX does not (above: why). Common causes: CUDA libraries of another \
version in LD_LIBRARY_PATH (${LD_LIBRARY_PATH:-not set}), an environment without the [gpu] extra."
  }
}

# given FLAG ARGUMENT...: whether FLAG=... or FLAG is among the arguments.
given() {
  local flag=$1 argument
  shift
  for argument in "$@"; do
    case $argument in "$flag" | "$flag="*) return 0 ;; esac
  done
  return 1
}

main "$@"
