#!/usr/bin/env bash
# Runs a command, and again when it ends in a way that another try can mend: exit code 1 (a bug,
# perhaps of the moment), 75 (try again) and signals. Not after 0 (done), 2 (bad input), 3 (refused).
#
#   supervise.sh DIRECTORY RESTARTS COMMAND...
#
# A command that ran for an hour (T2SQL_FORGIVEN, in seconds) before it failed has all its restarts
# again: it is no loop of crashes.
#
# Waits before each restart, 5 s at first and 300 s at most, and tells the command in T2SQL_RESTARTS
# how often it began again. Writes DIRECTORY/pid, /restarts and, at the end, /exit-code; holds
# DIRECTORY/lock, so that a second supervisor leaves. SIGTERM goes on to the command and ends both.
set -euo pipefail
# shellcheck source=launch/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"

case ${1:-} in -h | --help) usage_of "$0" && exit ;; esac
readonly DIRECTORY=$1 RESTARTS=$2
read -r -a PAUSES <<<"${T2SQL_PAUSES:-5 10 20 40 80 160 300}" # seconds
shift 2
CHILD=
readonly FORGIVEN=${T2SQL_FORGIVEN:-3600}
STOPPED=no
RESTART=0 # of all
USED=0    # of RESTARTS, since the command last ran for long

main() {
  exec 9>"$DIRECTORY/lock"
  flock --timeout 5 9 || exit 0 # 5 s: who asks whether it is held holds it for a moment
  echo "$$" >"$DIRECTORY/pid"
  trap stop TERM INT HUP
  local code began
  while :; do
    echo "$RESTART" >"$DIRECTORY/restarts"
    code=0
    began=$SECONDS
    run_once "$@" || code=$?
    note "ended with exit code $code"
    ((SECONDS - began < FORGIVEN)) || USED=0
    if [[ $STOPPED == yes ]] || ! can_be_mended "$code" || ((USED >= RESTARTS)); then
      break
    fi
    RESTART=$((RESTART + 1)) USED=$((USED + 1))
    pause
    [[ $STOPPED == no ]] || break
  done
  echo "$code" >"$DIRECTORY/exit-code"
  exit "$code"
}

# The command dies with this supervisor; it does not inherit the lock.
run_once() {
  note "starts"
  T2SQL_RESTARTS=$RESTART tied_to_this_script "$@" 9>&- &
  CHILD=$!
  [[ $STOPPED == no ]] || stop
  local code=0
  wait "$CHILD" || code=$?
  # A signal to this script interrupts the wait; the command has yet to end.
  while kill -0 "$CHILD" 2>/dev/null; do
    code=0
    wait "$CHILD" || code=$?
  done
  CHILD=
  return "$code"
}

can_be_mended() {
  (($1 == 1 || $1 == 75 || $1 > 128))
}

# `wait` ends at a signal, `sleep` alone would not.
pause() {
  local index=$((USED <= ${#PAUSES[@]} ? USED - 1 : ${#PAUSES[@]} - 1)) sleeper
  note "restart $USED of $RESTARTS in ${PAUSES[index]} s"
  sleep "${PAUSES[index]}" 9>&- &
  sleeper=$!
  wait "$sleeper" || kill "$sleeper" 2>/dev/null || true
}

# shellcheck disable=SC2317  # the trap calls it
stop() {
  STOPPED=yes
  [[ -z $CHILD ]] || kill -TERM "$CHILD" 2>/dev/null || true
}

note() {
  printf '[supervise.sh %s] %s\n' "$(date -u +%FT%TZ)" "$*"
}

main "$@"
