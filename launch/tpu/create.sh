#!/usr/bin/env bash
# Asks for a TPU slice: creates the queued resource. Does nothing where it exists.
#
#   launch/tpu/create.sh [--SETTING=VALUE ...] [--settings=FILE] [--dry-run]
#
# The settings are those of launch/tpu/settings.sh; --dry-run prints the gcloud commands and runs
# none. From the moment the slice is granted until launch/tpu/delete.sh it costs money.
set -euo pipefail
# shellcheck source=launch/tpu/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

main() {
  read_settings "$@"
  local state hosts image
  optional_flags
  hosts=$(hosts_of "$ACCELERATOR_TYPE")
  image=$(runtime_version)
  state=$(slice_state ABSENT)
  if [[ $state != ABSENT ]]; then
    say "$NAME exists: its state is $state"
    return
  fi
  say "Asking for $NAME: $ACCELERATOR_TYPE ($hosts hosts), $PROVISIONING, in $ZONE"
  act "${TRACK[@]}" compute tpus queued-resources create "$NAME" "${TARGET[@]}" \
    --node-id="$NAME" "${SHAPE[@]}" --runtime-version="$image" \
    --valid-until-duration="$VALID_UNTIL_DURATION" "${OPTIONAL[@]}" --async --quiet
}

# optional_flags: sets SHAPE, OPTIONAL, and TRACK to alpha where a flag is in gcloud alpha only.
# https://cloud.google.com/sdk/gcloud/reference/compute/tpus/queued-resources/create, and the
# flags of gcloud 528 (June 2025).
optional_flags() {
  OPTIONAL=() TRACK=() SHAPE=(--accelerator-type="$ACCELERATOR_TYPE")
  case $PROVISIONING in
    spot) OPTIONAL+=(--spot) ;;
    reserved) OPTIONAL+=(--reserved) ;;
    flex-start)
      OPTIONAL+=(--provisioning-model=flex-start
        --max-run-duration="${MAX_RUN_DURATION:-${MAX_HOURS}h}")
      TRACK=(alpha)
      ;;
  esac
  if [[ -n $TOPOLOGY ]]; then
    SHAPE=(--type="$(generation_of "$ACCELERATOR_TYPE")" --topology="$TOPOLOGY")
    TRACK=(alpha)
  fi
  [[ -z $RESERVATION ]] || OPTIONAL+=(--reservation="$RESERVATION") TRACK=(alpha)
  [[ -z $BOOT_DISK ]] || OPTIONAL+=(--boot-disk="$BOOT_DISK") TRACK=(alpha)
  [[ -z $LABELS ]] || OPTIONAL+=(--labels="$LABELS")
  [[ -z $NETWORK ]] || OPTIONAL+=(--network="$NETWORK")
  [[ -z $SUBNETWORK ]] || OPTIONAL+=(--subnetwork="$SUBNETWORK")
  [[ $INTERNAL_IPS == no ]] || OPTIONAL+=(--internal-ips)
  [[ -z $SERVICE_ACCOUNT ]] || OPTIONAL+=(--service-account="$SERVICE_ACCOUNT")
}

main "$@"
