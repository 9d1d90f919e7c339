#!/usr/bin/env bash
# Starts the job on every worker of a slice that is there: code of one commit, packages, then the
# job under launch/tpu/supervise.sh. A worker that already runs it is left alone.
#
#   launch/tpu/submit.sh --output=gs://BUCKET/RUN [--SETTING=VALUE ...] [--dry-run]
#       [--restart] [--fresh] [--yes] [-- FLAG OF t2sql.main ...]
#
#   --restart    stops a job that runs, before it starts the new one
#   --fresh      stops it, and deletes what OUTPUT holds; asks first, unless --yes is given
#
# The settings are those of launch/tpu/settings.sh. The Kaggle login goes to the workers from
# Secret Manager (--kaggle-secret) or as a file (--kaggle-file); it is in no command line and no log.
set -euo pipefail
# shellcheck source=launch/tpu/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

main() {
  SWITCHES="--restart --fresh --yes"
  read_settings "$@"
  need_output
  SCRATCH=$(mktemp -d)
  trap 'rm -rf -- "$SCRATCH"' EXIT
  check_job
  CODE=t2sql/code/$COMMIT # on the worker, below the home directory
  [[ $FRESH == no || $DRY_RUN == yes ]] || ask_user "Delete everything below $OUTPUT?" ||
    die "nothing was changed" "$REFUSED"
  check_slice
  local workers
  mapfile -t workers < <(addresses)
  ((${#workers[@]})) || die "gcloud names no worker of $NAME" "$TRY_AGAIN"
  say "Submitting commit ${COMMIT:0:12} to ${#workers[@]} workers of $NAME"
  warm_ssh
  send_code
  send_kaggle_file
  on_every_worker "Setting up: packages take some minutes the first time" \
    "$(worker prepare ${KAGGLE_SECRET:+"$KAGGLE_SECRET"})"
  [[ $RESTART == no && $FRESH == no ]] || \
    on_every_worker "Stopping the job" "$(worker stop)"
  [[ $FRESH == no ]] || delete_output
  start_jobs "${workers[@]}"
}

check_slice() {
  local state
  state=$(slice_state ACTIVE)
  [[ $state == ACTIVE ]] ||
    die "$NAME is not there to run a job: its state is $state. launch/tpu/run.sh waits for it" \
      "$TRY_AGAIN"
}

# As a bundle, so that the worker has a real checkout and the run records its commit.
send_code() {
  local bundle=$SCRATCH/t2sql.bundle
  git clone --quiet --bare --shared -- "$ROOT" "$SCRATCH/repository"
  git -C "$SCRATCH/repository" update-ref refs/heads/submitted "$COMMIT"
  git -C "$SCRATCH/repository" bundle create --quiet "$bundle" submitted
  copy_to_workers "$bundle" t2sql.bundle
  on_every_worker "Unpacking the code" "test -d $CODE || { rm -rf $CODE.new && git clone --quiet \
--branch submitted t2sql.bundle $CODE.new && mv $CODE.new $CODE; }"
}

# copy_to_workers FILE NAME
copy_to_workers() {
  local flags=()
  [[ $INTERNAL_IPS == no ]] || flags+=(--internal-ip)
  act compute tpus tpu-vm scp "$1" "$NAME:$2" "${TARGET[@]}" --quiet \
    --strict-host-key-checking=no "${SSH_OPTIONS[@]/#/--scp-flag=}" --worker=all "${flags[@]}"
}

# The directory is closed to others before the file comes; the file travels inside SSH.
send_kaggle_file() {
  [[ -n $KAGGLE_FILE ]] || return 0
  on_every_worker "Making ~/.kaggle" "install -d -m 700 .kaggle"
  copy_to_workers "$KAGGLE_FILE" .kaggle/kaggle.json
  on_every_worker "Closing kaggle.json" "chmod 600 .kaggle/kaggle.json"
}

# worker COMMAND...: prints the call of launch/tpu/worker.sh, of the submitted commit.
worker() {
  words bash "$CODE/launch/tpu/worker.sh" "$@"
}

# on_every_worker WHAT COMMAND: with one log per worker, the ends of which a failure shows.
on_every_worker() {
  local logs
  say "$1"
  logs=$(mktemp -d "$SCRATCH/logs.XXXX")
  on_workers all "$2" --output-directory="$logs" && return
  tail -n 20 -- "$logs"/*.log >&2 || true
  die "$1 failed on a worker (above: the ends of the logs)" 1
}

# start_jobs ADDRESS...: each worker is told its number; 16 connections at a time.
start_jobs() {
  local index pids=() failed=0 worst=0 at_once=16 meet=yes states
  states=$(worker_states "worker 0 idle, restarted 0 times")
  ! grep -qv ' idle' <<<"$states" || meet=no # somebody has begun, and waits for nobody
  [[ $DRY_RUN == no ]] || at_once=1
  for ((index = 0; index < $#; index++)); do
    ((${#pids[@]} < at_once)) || wait_first
    start_job "$index" "$@" &
    pids+=("$!")
  done
  while ((${#pids[@]})); do wait_first; done
  ((worst != REFUSED)) || die "a worker is busy (above)" "$REFUSED"
  ((failed == 0)) || die "the job did not start on $failed workers: submit again" "$TRY_AGAIN"
}

# wait_first: uses the variables of start_jobs.
wait_first() {
  local code=0
  wait "${pids[0]}" || code=$?
  ((code == 0)) || failed=$((failed + 1))
  ((code != REFUSED)) || worst=$REFUSED
  pids=("${pids[@]:1}")
}

# start_job INDEX ADDRESS...: uses the variable meet of start_jobs.
start_job() {
  local index=$1
  shift
  on_workers "$index" "$(worker start "$index" "$#" "$1:$COORDINATOR_PORT" "$MAX_RESTARTS" \
    "$meet" --config="$CONFIG" --config.output="$OUTPUT" "${JOB_FLAGS[@]}")"
}

main "$@"
