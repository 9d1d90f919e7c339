#!/usr/bin/env bash
# Runs the tests: sets up with what they need, then pytest.
#
#   launch/test.sh [ARGUMENT OF pytest ...]      launch/test.sh tests/runs -k resume
#
# The tests marked `spider` read Spider 1.0 from T2SQL_SPIDER_DIR and the page of the report is
# tested in Chromium; as root on Debian or Ubuntu it is installed when missing.
set -euo pipefail
# shellcheck source=launch/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

main() {
  case ${1:-} in -h | --help) usage_of "$0" && return ;; esac
  set_up weights dev
  ensure_chromium
  choose_tests
  cd -- "$ROOT"
  exec "$PYTHON" -m pytest "${CHOICE[@]}" "$@"
}

ensure_chromium() {
  type -P chromium >/dev/null && return
  if [[ $EUID -ne 0 ]] || ! type -P apt-get >/dev/null; then
    say "Chromium is missing: the tests of the report's page will fail. Debian's is the package" \
      "'chromium'; any one named chromium on the PATH will do." >&2
    return
  fi
  say "Installing Chromium (apt-get)"
  export DEBIAN_FRONTEND=noninteractive
  local log
  log=$(mktemp)
  { apt-get update && apt-get install --yes --no-install-recommends chromium; } \
    </dev/null >"$log" 2>&1 || { cat -- "$log" >&2 && die "apt-get could not install Chromium" 1; }
  rm -f -- "$log"
}

# What is not on this machine is left out with the tests that need it, and that is said; where the
# result is to be relied upon (CI), it is fetched, or an error.
choose_tests() {
  local choice=()
  if [[ -z ${T2SQL_SPIDER_DIR:-} ]]; then
    [[ ${CI:-} != true ]] || die "T2SQL_SPIDER_DIR is not set: it names a directory with Spider 1.0"
    choice+=("and not spider")
    say "T2SQL_SPIDER_DIR is not set: the tests that need Spider 1.0 are left out. To run them too," \
      "set it to the directory that holds dev.json, tables.json and database/."
  fi
  if [[ ${CI:-} == true ]]; then
    "$ROOT/benchmarks/compilers_setup.sh"
  elif [[ ! -d $ROOT/benchmarks/envs/compilers ]]; then
    choice+=("and not accelerators")
    say "The tests that compile for a TPU and a GPU are left out. To run them too, fetch the" \
      "compilers with benchmarks/compilers_setup.sh."
  fi
  local marks="${choice[*]}"
  CHOICE=()
  [[ -z $marks ]] || CHOICE=(-m "${marks#and }")
}

main "$@"
