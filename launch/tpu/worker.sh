#!/usr/bin/env bash
# Runs on a worker of the slice, from a checkout of the submitted commit; submit.sh calls it.
#
#   worker.sh prepare [SECRET]    installs the packages; fetches Kaggle's login from SECRET
#   worker.sh start INDEX COUNT COORDINATOR RESTARTS MEET FLAG...    starts the supervised job;
#       MEET is yes, or no where the other workers are at work or done: then it waits for none.
#       Its log is copied to OUTPUT/logs/, since a preempted worker takes its disk along
#   worker.sh stop                stops it, in good order
#   worker.sh state               prints a line: worker INDEX idle|running|ended CODE, ...
#   worker.sh log                 prints what supervisor and job have said
set -euo pipefail
# shellcheck source=launch/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"

readonly JOB=$HOME/t2sql/job
# Of the machine: other users of it have homes and jobs of their own, and the same chips.
readonly CHIPS=${T2SQL_CHIPS:-/var/lock/t2sql-chips}
readonly LOG_SECONDS=${T2SQL_LOG_SECONDS:-60} # between two copies of the log
readonly HUGE_PAGES=${T2SQL_HUGE_PAGES:-/sys/kernel/mm/transparent_hugepage/enabled}

main() {
  mkdir -p -- "$JOB"
  local command=$1
  shift
  "$command" "$@"
}

prepare() {
  set_up weights tpu
  ln -sfn -- "$ROOT" "$HOME/t2sql/current"
  [[ -z ${1:-} ]] || fetch_login "$1"
}

fetch_login() {
  umask 077
  mkdir -p -- "$HOME/.kaggle"
  gcloud secrets versions access latest --secret="$1" --out-file="$HOME/.kaggle/kaggle.json" --quiet
  chmod 700 -- "$HOME/.kaggle"
  chmod 600 -- "$HOME/.kaggle/kaggle.json"
}

# For large buffers; without them JAX warns of slow starts and transfers on v5e and later
# (jax/_src/cloud_tpu_init.py).
enable_huge_pages() {
  [[ -e $HUGE_PAGES ]] && ! grep -qF '[always]' "$HUGE_PAGES" || return 0
  [[ -w $HUGE_PAGES ]] && echo always >"$HUGE_PAGES" ||
    sudo -n sh -c "echo always >$HUGE_PAGES" 2>/dev/null ||
    say "transparent huge pages stay off: no right to write $HUGE_PAGES"
}

# take_chips INDEX: opens the machine's lock as file 8, for as long as the supervisor lives.
take_chips() {
  [[ -e $CHIPS ]] || (umask 0 && : >"$CHIPS") 2>/dev/null || true
  exec 8<"$CHIPS"
  flock --timeout 5 8 || die "worker $1: a job of another user has the chips: $CHIPS is locked" 3
}

start() {
  local restarts=$4 what="commit ${ROOT##*/}, ${*:6}"
  if is_running; then
    [[ $(cat -- "$JOB/what") == "$what" ]] ||
      die "worker $1 runs another job: $(cat -- "$JOB/what"). Submit with --restart to stop it" 3
    say "worker $1: the job runs already"
    return
  fi
  take_chips "$1"
  enable_huge_pages
  set_up weights tpu
  export T2SQL_PROCESS_ID=$1 T2SQL_NUM_PROCESSES=$2 T2SQL_COORDINATOR=$3
  [[ $5 == yes ]] || export T2SQL_MEETING_SECONDS=0
  shift 5
  rm -f -- "$JOB/exit-code"
  printf '%s\n' "$what" >"$JOB/what"
  printf '%s\n' "$T2SQL_PROCESS_ID" >"$JOB/index"
  cd -- "$ROOT"
  setsid "$ROOT/launch/tpu/supervise.sh" "$JOB" "$restarts" "$PYTHON" -m t2sql.main "$@" \
    >>"$JOB/log" 2>&1 </dev/null &
  wait_for_start "$!"
  setsid "$ROOT/launch/tpu/worker.sh" keep_log "$(log_url "$@")" >"$JOB/keep-log" 2>&1 \
    </dev/null 8>&- &
  say "worker $T2SQL_PROCESS_ID: started"
}

# log_url FLAG...: prints where this start's log goes, beside what the job writes.
log_url() {
  local flag
  for flag in "$@"; do
    [[ $flag != --config.output=* ]] || printf '%s/logs/worker-%s-%s.log\n' \
      "${flag#*=}" "$T2SQL_PROCESS_ID" "$(date -u +%Y%m%dT%H%M%SZ)"
  done
}

# keep_log URL: copies the log when it has grown, until the job has ended. A bucket that cannot be
# written for a while is tried again; why is in JOB/keep-log.
keep_log() {
  local copied=-1 size ended=no
  until [[ $ended == yes ]]; do
    ! flock --timeout "$LOG_SECONDS" "$JOB/lock" true || ended=yes
    size=$(stat -c %s -- "$JOB/log")
    ((size == copied)) || ! gcloud storage cp --quiet "$JOB/log" "$1" || copied=$size
  done
}

# wait_for_start SUPERVISOR
wait_for_start() {
  until is_running || [[ -f $JOB/exit-code ]]; do
    kill -0 "$1" 2>/dev/null || [[ -f $JOB/exit-code ]] ||
      die "worker $T2SQL_PROCESS_ID: the supervisor did not start: $(tail -n 5 -- "$JOB/log")" 1
    sleep 0.1
  done
}

stop() {
  is_running || return 0
  kill -TERM "$(cat -- "$JOB/pid")"
  local second
  for ((second = 0; second < 60; second++)); do
    is_running || return 0
    sleep 1
  done
  die "the job did not stop within 60 s" 1
}

state() {
  local phase=idle
  if is_running; then
    phase=running
  elif [[ -f $JOB/exit-code ]]; then
    phase="ended $(cat -- "$JOB/exit-code")"
  fi
  say "worker $(fact index '?') $phase, restarted $(fact restarts 0) times"
}

# fact NAME DEFAULT: what start and the supervisor wrote down.
fact() {
  cat -- "$JOB/$1" 2>/dev/null || echo "$2"
}

log() {
  fact log "no job was started"
}

# The supervisor holds the lock as long as it lives.
is_running() {
  ! flock --nonblock "$JOB/lock" true
}

main "$@"
