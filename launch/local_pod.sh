#!/usr/bin/env bash
# A pod on one machine: the main job in several processes, as on the hosts of a TPU pod slice.
#
#   launch/local_pod.sh [--hosts=N] [--devices=M] [--logs=DIR] -- ARGUMENT OF t2sql.main ...
#
#   --hosts=N     processes, each a host of the pod; the first one runs JAX's coordinator (4)
#   --devices=M   virtual CPU devices of each process (2)
#   --logs=DIR    where host-0.log, host-1.log... go (a new directory runs/local-pod-TIME)
#
# Shows the log of host 0. As soon as one process fails the others are stopped: SIGTERM, and
# SIGKILL 30 s later. Exits with the worst code of those that ended by themselves: 2 and 3 (running
# it again will not help) before 1, before a signal, before 75. However this script ends, kill -9
# included, no process outlives it.
set -euo pipefail
# shellcheck source=launch/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

readonly GRACE_SECONDS=30 # more than the grace period that the job gives itself
HOSTS=4
DEVICES=2
LOGS=
WORKERS=() # process ids, by host; empty where that process has ended
WORST=0

main() {
  parse_flags "$@"
  shift "$FLAG_COUNT"
  set_up weights
  [[ -n $LOGS ]] || LOGS=$(new_directory "$ROOT/runs/local-pod-$(date +%Y%m%d-%H%M%S)")
  mkdir -p -- "$LOGS"
  say "$HOSTS hosts x $DEVICES devices; logs: $LOGS/host-*.log"
  trap 'stop_all; exit 130' INT
  trap 'stop_all; exit 143' TERM HUP
  start_all "$@"
  show_first_log
  wait_for_all
  ((WORST)) || say "All $HOSTS hosts have done their part"
  exit "$WORST"
}

parse_flags() {
  FLAG_COUNT=0
  local argument
  for argument in "$@"; do
    FLAG_COUNT=$((FLAG_COUNT + 1))
    case $argument in
      --hosts=*) HOSTS=${argument#*=} ;;
      --devices=*) DEVICES=${argument#*=} ;;
      --logs=*) LOGS=${argument#*=} ;;
      -h | --help) usage_of "$0" && exit ;;
      --) break ;;
      *) die "unexpected argument '$argument': flags of the job come after --" ;;
    esac
  done
  [[ $HOSTS =~ ^[1-9][0-9]*$ ]] || die "--hosts=$HOSTS: expected a number from 1"
  [[ $DEVICES =~ ^[1-9][0-9]*$ ]] || die "--devices=$DEVICES: expected a number from 1"
}

start_all() {
  local host
  export JAX_PLATFORMS=cpu T2SQL_NUM_PROCESSES=$HOSTS
  export XLA_FLAGS="${XLA_FLAGS:-} --xla_force_host_platform_device_count=$DEVICES"
  T2SQL_COORDINATOR=127.0.0.1:$(free_port)
  export T2SQL_COORDINATOR
  for ((host = 0; host < HOSTS; host++)); do
    : >"$LOGS/host-$host.log" # now, for whoever shows it
    T2SQL_PROCESS_ID=$host tied_to_this_script "$PYTHON" -m t2sql.main "$@" \
      >>"$LOGS/host-$host.log" 2>&1 </dev/null &
    WORKERS[host]=$!
  done
}

free_port() {
  "$PYTHON" -c '
import socket
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    print(probe.getsockname()[1])'
}

show_first_log() {
  tied_to_this_script tail -n +1 -f -s 0.2 --pid="${WORKERS[0]}" -- "$LOGS/host-0.log" &
  TAIL=$!
}

wait_for_all() {
  local ended code host
  while ((${#WORKERS[@]})); do
    code=0
    wait -n -p ended "${WORKERS[@]}" || code=$?
    host=$(host_of "$ended")
    unset "WORKERS[host]"
    ((code == 0)) || fail "$host" "$code"
  done
  wait "$TAIL" || true
}

host_of() {
  local host
  for host in "${!WORKERS[@]}"; do
    [[ ${WORKERS[host]} != "$1" ]] || printf '%s\n' "$host"
  done
}

# fail HOST CODE: the first failure stops the rest, whose codes count unless they are our signal's.
fail() {
  local host=$1 code=$2
  say "host $host ended with exit code $code: stopping the others. The end of its log:" >&2
  tail -n 20 -- "$LOGS/host-$host.log" | sed 's/^/  /' >&2
  note_code "$code"
  stop_all
}

note_code() {
  (($(badness "$1") <= $(badness "$WORST"))) || WORST=$1
}

badness() {
  case $1 in
    0) echo 0 ;;
    75) echo 1 ;;
    1) echo 3 ;;
    2 | 3) echo 4 ;;
    *) echo 2 ;;
  esac
}

stop_all() {
  trap '' INT TERM HUP
  signal_all TERM || true
  local deadline=$((SECONDS + GRACE_SECONDS)) host code
  while signal_all 0 && ((SECONDS < deadline)); do sleep 0.1; done
  signal_all KILL || true
  for host in "${!WORKERS[@]}"; do
    code=0
    wait "${WORKERS[host]}" || code=$?
    case $code in 137 | 143) ;; *) note_code "$code" ;; esac
  done
  WORKERS=()
}

# signal_all SIGNAL: fails where no worker is left to take it.
signal_all() {
  local worker reached=1
  for worker in "${WORKERS[@]}"; do
    kill -"$1" "$worker" 2>/dev/null && reached=0
  done
  return "$reached"
}

main "$@"
