#!/usr/bin/env bash
# The whole life of a run: asks for a slice, waits for it, submits, waits for the last unit, fetches
# the logs, deletes the slice, makes the report, which needs none. A slice that is preempted is asked
# for again, and the job goes on where it was. Stop it whenever you like: the same command goes on
# from there.
#
#   launch/tpu/run.sh --output=gs://BUCKET/RUN --zone=ZONE [--report-data=SPIDER_DIR]
#       [--SETTING=VALUE ...] [--fresh] [--keep] [--yes] [--dry-run] [-- FLAG OF t2sql.main ...]
#
#   --fresh    deletes what OUTPUT holds, once, before anything else; asks first, unless --yes
#   --keep     leaves the slice there at the end; it costs money until launch/tpu/delete.sh
#
# The settings are those of launch/tpu/settings.sh. After MAX_HOURS of a slice, after MAX_IDLE_MINUTES in which
# nothing could be done on the slice, after MAX_STALLED_MINUTES in which the job wrote nothing, and
# when it fails for good, the slice is deleted too (not with --keep). Only an interrupted run.sh
# leaves it there.
set -euo pipefail
# shellcheck source=launch/tpu/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

readonly MOST_FAILURES=10 # of gcloud in a row, before a slice was seen, and of its deletion
FAILURES=0
DONE=UNKNOWN  # the URL of done.json, ABSENT, or UNKNOWN where the bucket cannot be read
SEEN=no       # whether there is, or was, a slice to pay for
EXPECTED=yes  # whether it is no surprise that there is none
CREATIONS=0
REQUESTS=0    # that ran out before they were granted
HELD=0        # seconds in which a slice was there, or may have been
LOOKED_AT=0   # when step last looked; as SECONDS
SUBMISSIONS=0 # to this slice
USEFUL_AT=0   # when the slice last worked, or was not there to be paid for; as SECONDS
UNITS_AT=0    # when the job was submitted, or units last came; as SECONDS
WRITTEN=      # what progress said then

main() {
  SWITCHES="--fresh --keep --yes"
  read_settings "$@"
  need_output
  [[ -z $REPORT_DATA || -d $REPORT_DATA || $REPORT_DATA == sample ]] ||
    die "REPORT_DATA is '$REPORT_DATA': there is no such directory"
  REPORT=(-m t2sql.report --predictions="$OUTPUT" --data="$REPORT_DATA"
    --output="$RESULTS/report")
  check_job # before there is a slice to pay for
  SETTING_FLAGS+=(--commit="$COMMIT")
  if [[ $DRY_RUN == yes ]]; then
    rehearse
    return
  fi
  trap 'left_there; exit 130' INT
  trap 'left_there; exit 143' TERM HUP
  [[ $FRESH == no ]] || start_over
  look_for_done
  while [[ $DONE == ABSENT || $DONE == UNKNOWN ]]; do
    step
    look_for_done
  done
  note "The run is complete"
  finish
}

left_there() {
  jobs -p | xargs --no-run-if-empty kill 2>/dev/null || true # the sleep of wait_a_while
  note "Stopped watching. $NAME stays as it is, and costs money: run this again to go on (without \
--fresh), or launch/tpu/delete.sh to end it"
}

start_over() {
  local state
  state=$(slice_state ABSENT)
  [[ $state == ABSENT ]] ||
    die "--fresh begins without a slice, and $NAME is $state: launch/tpu/delete.sh first" "$REFUSED"
  ask_user "Delete everything below $OUTPUT?" || die "nothing was changed" "$REFUSED"
  delete_output
}

look_for_done() {
  DONE=$(object_url "$OUTPUT/done.json" "") || {
    DONE=UNKNOWN
    count_failure
  }
}

# step: looks at the slice and does what is due.
step() {
  local state
  if ! state=$(slice_state ABSENT); then
    [[ $SEEN == no ]] || count_hours UNKNOWN
    count_failure
    return
  fi
  count_hours "$state"
  case $state in ABSENT | ACTIVE) ;; *) FAILURES=0 ;; esac # those two have more to do
  case $state in
    ABSENT | DELETING) ;;
    *) SEEN=yes EXPECTED=no ;;
  esac
  [[ $state == ACTIVE ]] || USEFUL_AT=$SECONDS
  case $state in
    ABSENT) ask_for_slice ;;
    ACTIVE) tend ;;
    SUSPENDED) ask_again "was preempted" ;;
    FAILED) ask_later ;;
    *) wait_a_while "$NAME is $state" ;;
  esac
}

# count_hours STATE: waiting for a slice costs nothing; MAX_HOURS bounds what does.
count_hours() {
  case $1 in
    ABSENT | CREATING | ACCEPTED | WAITING_FOR_RESOURCES | FAILED | SUSPENDED) ;;
    *) HELD=$((HELD + SECONDS - LOOKED_AT)) ;;
  esac
  LOOKED_AT=$SECONDS
  ((HELD <= MAX_HOURS * 3600)) || give_up "MAX_HOURS=$MAX_HOURS are over" "$TRY_AGAIN"
}

# ask_later: a request that nobody could grant in time is made again; others failed for a reason.
ask_later() {
  local age
  age=$(request_age)
  ((age >= $(seconds_of "$VALID_UNTIL_DURATION"))) ||
    give_up "the request failed: $(failure_message)" 1
  ((REQUESTS < MAX_REQUESTS)) ||
    give_up "no slice was granted: $REQUESTS requests ran out (MAX_REQUESTS)" "$TRY_AGAIN"
  REQUESTS=$((REQUESTS + 1))
  ((CREATIONS == 0)) || CREATIONS=$((CREATIONS - 1)) # those are preemptions
  ask_again "was not granted within $VALID_UNTIL_DURATION"
}

# request_age: prints how many seconds ago the request was made; 0 where gcloud does not say.
request_age() {
  local created
  created=$(ask "" compute tpus queued-resources describe "$NAME" "${TARGET[@]}" \
    --format='value(createTime)') && created=$(date -d "$created" +%s) || created=$(date +%s)
  echo "$(($(date +%s) - created))"
}

ask_for_slice() {
  [[ $DONE == ABSENT ]] || return 0 # nothing to do on it, or a bucket that cannot be read
  [[ $EXPECTED == yes ]] ||
    give_up "somebody else deleted $NAME, and this does not ask for it again" "$REFUSED"
  ((CREATIONS <= MAX_RECREATIONS)) ||
    give_up "$NAME was preempted $CREATIONS times (MAX_RECREATIONS)" "$TRY_AGAIN"
  if "$TPU/create.sh" "${SETTING_FLAGS[@]}"; then
    CREATIONS=$((CREATIONS + 1))
    SEEN=yes
    EXPECTED=yes # for a moment it may not be listed
    FAILURES=0
  else
    count_failure
  fi
}

ask_again() {
  note "$NAME $1: asking for it again"
  WARM=no
  SUBMISSIONS=0
  EXPECTED=yes
  "$TPU/delete.sh" "${SETTING_FLAGS[@]}" --yes || count_failure
}

failure_message() {
  ask "" compute tpus queued-resources describe "$NAME" "${TARGET[@]}" \
    --format='value(state.failedData.error.message)'
}

# tend: the slice is granted; is its VM, and does every worker do its part?
tend() {
  local vm states
  if ! vm=$(vm_state READY); then
    count_failure
    return
  fi
  case $vm in
    READY) ;;
    PREEMPTED | TERMINATED | STOPPED) ask_again "is $vm" && return ;;
    *)
      USEFUL_AT=$SECONDS
      wait_a_while "the TPU VM $NAME is $vm"
      return
      ;;
  esac
  if ! warm_ssh || ! states=$(worker_states); then
    count_idle "gcloud cannot reach a worker" # so it shows that a slice is being preempted, too
    return
  fi
  look_at_workers "$states"
}

# look_at_workers STATES
look_at_workers() {
  FAILURES=0
  if ((SUBMISSIONS == 0)) || grep -q ' idle' <<<"$1"; then
    submit
  elif grep -q ' running' <<<"$1" && ended_early "$1" && ((SUBMISSIONS < MAX_SUBMISSIONS)); then
    note "A worker has ended while others run: submitting again"
    submit
  elif grep -q ' running' <<<"$1"; then
    USEFUL_AT=$SECONDS
    look_for_units
    ((SECONDS - UNITS_AT < MAX_STALLED_MINUTES * 60)) ||
      give_up "the job runs, and wrote no unit for MAX_STALLED_MINUTES=$MAX_STALLED_MINUTES" \
        "$TRY_AGAIN"
    wait_a_while "$(grep -c ' running' <<<"$1") workers run, $WRITTEN$(restarts_of "$1")"
  else
    look_for_done # again: they may have ended since
    [[ $DONE != ABSENT ]] || submit_the_rest "$1"
  fi
}

# ended_early STATES: whether a worker ended in a way that another try can mend, as maintenance does.
ended_early() {
  local codes
  codes=$(sed -n 's/.* ended \([0-9]*\),.*/\1/p' <<<"$1")
  [[ -n $codes ]] && grep -qvx -e 0 -e "$BAD_INPUT" -e "$REFUSED" <<<"$codes"
}

# submit_the_rest STATES: every worker has ended, and units are missing.
submit_the_rest() {
  local code
  code=$(worst_code "$1")
  printf '%s\n' "$1" >&2
  ((code != BAD_INPUT && code != REFUSED && SUBMISSIONS < MAX_SUBMISSIONS)) ||
    give_up "every worker has ended, and units are missing" "$code"
  note "Every worker has ended, and units are missing: submitting again"
  submit
}

# restarts_of STATES: prints how often the worst worker began again, where one did.
restarts_of() {
  local most
  most=$(sed -n 's/.*restarted \([0-9]*\) times/\1/p' <<<"$1" | sort -n | tail -n 1)
  ((most == 0)) || printf ', the job crashed %s times (launch/tpu/logs.sh)' "$most"
}

submit() {
  local code=0
  "$TPU/submit.sh" "${SETTING_FLAGS[@]}" -- "${JOB_FLAGS[@]}" || code=$?
  if ((code == 0)); then
    SUBMISSIONS=$((SUBMISSIONS + 1))
    USEFUL_AT=$SECONDS
    UNITS_AT=$SECONDS
    return
  fi
  ((code != BAD_INPUT)) || give_up "the job cannot be submitted" "$code"
  ((code != REFUSED)) || { left_there && exit "$code"; } # somebody's other job runs there
  count_idle "the job could not be submitted"
}

# count_idle WHY: the slice is there, is paid for, and cannot be used: not for long, unless new
# units show that its job runs.
count_idle() {
  look_for_units
  ((UNITS_AT <= USEFUL_AT)) || USEFUL_AT=$UNITS_AT
  ((SECONDS - USEFUL_AT < MAX_IDLE_MINUTES * 60)) ||
    give_up "$1 (above), for MAX_IDLE_MINUTES=$MAX_IDLE_MINUTES" "$TRY_AGAIN"
  wait_a_while "$1; trying again"
}

# look_for_units: a bucket that cannot be read for a moment shows none.
look_for_units() {
  local written
  written=$(progress) || return 0
  [[ $written == "$WRITTEN" ]] || UNITS_AT=$SECONDS
  WRITTEN=$written
}

# worst_code STATES: 2 and 3, which no new try mends, before others; all 0 is a bug.
worst_code() {
  local codes
  codes=$(sed -n 's/.* ended \([0-9]*\),.*/\1/p' <<<"$1")
  grep -m 1 -x -e 2 -e 3 <<<"$codes" || grep -m 1 -v -x 0 <<<"$codes" || echo 1
}

# give_up WHY CODE: with the logs, and without a slice that costs money.
give_up() {
  note "Giving up: $1"
  fetch_logs
  delete_slice || not_deleted
  exit "$2"
}

fetch_logs() {
  [[ $(vm_state READY || true) != READY ]] || "$TPU/logs.sh" "${SETTING_FLAGS[@]}" || true
}

# delete_slice: fails where the slice may still be there after several tries, further and further
# apart: nobody may be watching, and every hour costs.
delete_slice() {
  local tries
  if [[ $KEEP == yes ]]; then
    note "$NAME is kept, and costs money until launch/tpu/delete.sh"
    return
  fi
  for ((tries = 1; tries <= MOST_FAILURES; tries++)); do
    "$TPU/delete.sh" "${SETTING_FLAGS[@]}" --yes && return
    wait_a_while "$NAME could not be deleted; trying again" "$((tries * POLL_SECONDS))"
  done
  return 1
}

not_deleted() {
  note "$NAME COULD NOT BE DELETED, and may cost money: run launch/tpu/delete.sh until it says that \
nothing is left"
  exit "$TRY_AGAIN"
}

# The report comes last, since it needs no slice.
finish() {
  local code=0 deleted=yes
  fetch_logs
  delete_slice || deleted=no
  [[ $deleted$KEEP != yesno ]] || trap - INT TERM HUP # nothing is left there to tell of
  [[ -z $REPORT_DATA ]] || report || code=$?
  [[ $deleted == yes ]] || not_deleted
  exit "$code"
}

report() {
  # shellcheck disable=SC2119  # no extras
  set_up
  "$PYTHON" "${REPORT[@]}"
}

# A network that is gone for a while is no reason to leave a slice alone with the bill.
count_failure() {
  FAILURES=$((FAILURES + 1))
  USEFUL_AT=$SECONDS # perhaps
  if ((FAILURES >= MOST_FAILURES)) && [[ $SEEN == no ]]; then
    note "gcloud failed $FAILURES times in a row (above): check login, project and zone"
    exit "$TRY_AGAIN"
  fi
  ((FAILURES % MOST_FAILURES)) ||
    note "gcloud failed $FAILURES times in a row (above); $NAME may be there, and cost money"
  wait_a_while "gcloud failed; trying again"
}

# wait_a_while WHY [SECONDS]: `wait` lets a signal through, `sleep` would not.
wait_a_while() {
  note "$1"
  sleep "${2:-$POLL_SECONDS}" &
  wait "$!"
}

note() {
  printf '%s %s\n' "$(date +%T)" "$*"
}

# rehearse: the commands of a run in which nothing goes wrong.
rehearse() {
  local script
  [[ $FRESH == no ]] || delete_output
  for script in create submit status logs delete; do
    [[ $script$KEEP != deleteyes ]] || continue
    say "--- $script.sh"
    "$TPU/$script.sh" "${SETTING_FLAGS[@]}" --dry-run -- "${JOB_FLAGS[@]}"
    [[ $script != status ]] || say "... every $POLL_SECONDS s until $OUTPUT/done.json is there"
  done
  [[ -z $REPORT_DATA ]] || show_command python "${REPORT[@]}"
}

main "$@"
