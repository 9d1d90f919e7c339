#!/usr/bin/env bash
# Makes .venv: a Python environment with t2sql and the package versions pinned in
# requirements/constraints.txt.
#
#   launch/setup.sh [EXTRA ...]      EXTRA: weights, tpu, gpu, dev (see setup.py)
#
# Does nothing where that stands already; an interrupted run is made good by the next one.
# Needs some python3 with pip, or uv. Everything it writes is in .venv and .uv (and uv's cache).
set -euo pipefail
# shellcheck source=launch/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

readonly VENV=$ROOT/.venv
readonly STAMP=$VENV/t2sql-extras # written last: line 1 what went in, line 2 the extras
readonly PRIVATE=$ROOT/.uv
readonly LOG=$PRIVATE/setup.log
readonly CONSTRAINTS=$ROOT/requirements/constraints.txt

main() {
  case ${1:-} in -h | --help) usage_of "$0" && return ;; esac
  check_extras "$@"
  is_current "$@" && return
  check_machine
  mkdir -p -- "$PRIVATE"
  exec 9>"$PRIVATE/lock"
  flock 9 # a second set-up waits here for the first
  is_current "$@" && return
  : >"$LOG"
  local extras
  extras=$(with_those_installed "$@")
  install_uv
  make_venv
  install_packages "$extras"
}

check_extras() {
  local extra
  for extra in "$@"; do
    case $extra in
      weights | tpu | gpu | dev) ;;
      *) die "unknown extra '$extra': it is one of weights, tpu, gpu, dev" ;;
    esac
  done
}

check_machine() {
  local machine
  machine="$(uname -s) $(uname -m)"
  [[ $machine == "Linux x86_64" ]] ||
    die "this is $machine: the pinned TensorFlow, which gemma needs, exists for Linux x86_64 only"
}

# What a complete environment was made from; another path counts, since scripts in it name theirs.
fingerprint() {
  { cat -- "$ROOT/setup.py" "$ROOT/pyproject.toml" "$CONSTRAINTS" && printf '%s' "$ROOT"; } |
    sha256sum | cut -d ' ' -f 1
}

is_current() {
  [[ -f $STAMP && $(sed -n 1p "$STAMP") == "$(fingerprint)" ]] || return 1
  "$VENV/bin/python" -c '' 2>/dev/null || return 1
  local extra
  for extra in "$@"; do
    [[ " $(sed -n 2p "$STAMP") " == *" $extra "* ]] || return 1
  done
}

# with_those_installed EXTRA...: prints these extras and those of a complete .venv, each once.
with_those_installed() {
  { printf '%s\n' "$@" && { sed -n 2p "$STAMP" 2>/dev/null || true; } | tr ' ' '\n'; } |
    sed '/^$/d' | sort -u | paste -s -d ' '
}

# logged WHAT COMMAND...: runs the command quietly; when it fails, shows the end of the log.
logged() {
  local what=$1
  shift
  printf '\n$ %s\n' "$*" >>"$LOG"
  "$@" >>"$LOG" 2>&1 && return
  tail -n 40 -- "$LOG" >&2
  die "$what failed (above: the end of $LOG). Run the same command again to try again." 1
}

install_uv() {
  UV=$PRIVATE/tool/bin/uv
  local version python
  version=$(sed -n 's/^uv==//p' "$CONSTRAINTS")
  python=$(first_that has_pip) || python=
  [[ -z $python ]] || use_pips_settings "$python"
  [[ $("$UV" --version 2>/dev/null) == "uv $version"* ]] && return
  if [[ -z $python ]]; then
    UV=$(type -P uv) || die "no python3 with pip here, and no uv: install one of them"
    return
  fi
  say "Installing uv $version into .uv"
  rm -rf -- "$PRIVATE/tool"
  PIP_USER=0 logged "Installing uv" \
    "$python" -m pip install --quiet --target "$PRIVATE/tool" --constraint "$CONSTRAINTS" uv
}

# uv reads no settings of pip: a mirror configured there, or its certificates, have to serve
# here too.
use_pips_settings() {
  local settings index certificates
  settings=$("$1" -m pip config list 2>/dev/null) || settings=
  index=${PIP_INDEX_URL:-$(setting_of_pip index-url <<<"$settings")}
  certificates=${PIP_CERT:-$(setting_of_pip cert <<<"$settings")}
  [[ -z $index ]] || export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}
  [[ -z $certificates ]] || export SSL_CERT_FILE=${SSL_CERT_FILE:-$certificates}
}

# setting_of_pip NAME: from the output of "pip config list", as "pip config get" reads one file.
setting_of_pip() {
  sed -n "s/^\(global\|install\)\.$1='\(.*\)'$/\2/p" | tail -n 1
}

# first_that PREDICATE: prints the first Python of this machine that PREDICATE accepts.
first_that() {
  local python
  while read -r python; do
    "$1" "$python" && printf '%s\n' "$python" && return
  done < <(pythons)
  return 1
}

# Every match on the PATH, since the first may be a shim that does not run, then pyenv's.
pythons() {
  type -aP python3.12 python3.13 python3 python || true
  local root python
  while read -r root; do
    for python in "$root"/versions/3.1[23].*/bin/python3; do
      [[ ! -x $python ]] || printf '%s\n' "$python"
    done
  done < <(pyenv_roots)
}

# As pyenv says, and beside its shims on the PATH: HOME may be another user's.
pyenv_roots() {
  printf '%s\n' "${PYENV_ROOT:-${HOME:-}/.pyenv}"
  type -aP python3 | sed -n 's|/shims/python3$||p'
}

has_pip() {
  timeout 30 "$1" -m pip --version >/dev/null 2>&1
}

# Not 3.14: the pinned TensorFlow has no build for it.
is_suitable() {
  timeout 30 "$1" -c '
import ssl, sqlite3, sys
sys.exit(not (3, 12) <= sys.version_info < (3, 14))' >/dev/null 2>&1
}

make_venv() {
  if [[ -f $STAMP ]] && "$VENV/bin/python" -c '' 2>/dev/null; then
    rm -f -- "$STAMP"
    return
  fi
  [[ ! -e $VENV ]] || say "Making .venv again: it is incomplete or broken"
  local python
  python=$(first_that is_suitable) || python=$(bring_python)
  say "Making .venv with $("$python" --version) ($python)"
  logged "Making .venv" "$UV" venv --clear --python "$python" "$VENV"
}

bring_python() {
  say "No Python 3.12 or 3.13 that runs is on the PATH or with pyenv: uv brings one into .uv" >&2
  export UV_PYTHON_INSTALL_DIR=$PRIVATE/python
  logged "Installing Python 3.12" "$UV" python install --no-bin 3.12
  "$UV" python find --managed-python 3.12
}

# install_packages EXTRAS: in place; the stamp comes last.
install_packages() {
  local extras=$1
  say "Installing t2sql and its packages${extras:+ ($extras)}: a few minutes the first time"
  (cd "$ROOT" && logged "Installing the packages" \
    "$UV" pip install --python "$VENV/bin/python" --constraint "$CONSTRAINTS" \
    --build-constraints "$CONSTRAINTS" --editable ".${extras:+[${extras// /,}]}")
  { fingerprint && printf '%s\n' "$extras"; } >"$STAMP.new"
  mv -- "$STAMP.new" "$STAMP"
}

main "$@"
