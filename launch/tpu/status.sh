#!/usr/bin/env bash
# Shows the slice, its workers, and how many units are written.
#
#   launch/tpu/status.sh [--output=gs://BUCKET/RUN] [--SETTING=VALUE ...] [--dry-run]
set -euo pipefail
# shellcheck source=launch/tpu/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

main() {
  read_settings "$@"
  [[ -z $OUTPUT ]] || need_output
  local slice vm
  slice=$(slice_state ACTIVE)
  vm=$(vm_state READY)
  say "queued resource $NAME: $slice"
  say "TPU VM $NAME: $vm"
  case $vm in
    ABSENT | PREEMPTED | TERMINATED | STOPPED) ;;
    *) say "It costs money until launch/tpu/delete.sh has run." ;;
  esac
  [[ $vm != READY ]] || show_workers
  [[ -z $OUTPUT ]] || progress
}

# Units are counted also where no worker answers, which is when one wants to know.
show_workers() {
  local states
  if warm_ssh && states=$(worker_states); then
    say "$states"
  else
    say "gcloud cannot reach a worker (above)"
  fi
}

main "$@"
