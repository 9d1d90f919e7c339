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
  local slice vm states
  slice=$(slice_state ACTIVE)
  vm=$(vm_state READY)
  say "queued resource $NAME: $slice"
  say "TPU VM $NAME: $vm"
  if [[ $vm == READY ]]; then
    warm_ssh
    states=$(worker_states)
    say "$states"
  fi
  [[ -z $OUTPUT ]] || progress
  [[ $vm == ABSENT ]] || say "It costs money until launch/tpu/delete.sh has run."
}

main "$@"
