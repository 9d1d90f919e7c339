#!/usr/bin/env bash
# Deletes the slice, and makes sure that nothing of it is left to cost money. What the job wrote to
# the bucket stays. Asks first, unless --yes is given.
#
#   launch/tpu/delete.sh [--SETTING=VALUE ...] [--yes] [--dry-run]
set -euo pipefail
# shellcheck source=launch/tpu/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

main() {
  SWITCHES="--yes"
  read_settings "$@"
  local slice vm
  slice=$(slice_state ACTIVE)
  vm=$(vm_state READY)
  if [[ $slice$vm == ABSENTABSENT ]]; then
    say "There is no $NAME in $ZONE"
    return
  fi
  [[ $DRY_RUN == yes ]] || ask_user "Delete $NAME ($slice) in $ZONE?" || die "not deleted" "$REFUSED"
  [[ $slice == ABSENT ]] ||
    act compute tpus queued-resources delete "$NAME" "${TARGET[@]}" --force --quiet ||
    still_there "gcloud could not delete it (above)"
  delete_left_over_vm
  [[ $DRY_RUN == yes ]] || check_gone
}

# Deleting a queued resource deletes its VM; one that was made without a queue is on its own.
delete_left_over_vm() {
  local vm
  vm=$(vm_state ABSENT)
  [[ $vm == ABSENT ]] || act compute tpus tpu-vm delete "$NAME" "${TARGET[@]}" --quiet
}

check_gone() {
  local slice vm
  slice=$(slice_state ABSENT)
  vm=$(vm_state ABSENT)
  [[ $slice$vm == ABSENTABSENT ]] || still_there "queued resource $slice, TPU VM $vm"
  say "Deleted: nothing of $NAME is left in $ZONE"
}

# still_there HOW
still_there() {
  die "$NAME is still there ($1) and may cost money: run this again in a minute" "$TRY_AGAIN"
}

main "$@"
