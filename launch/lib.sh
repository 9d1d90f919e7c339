# shellcheck shell=bash
# Sourced by every script of launch/: where the repository is, how to speak, which Python to use.

shopt -s inherit_errexit
ROOT=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
readonly ROOT
readonly BAD_INPUT=2 # as in t2sql/errors.py

say() {
  printf '%s\n' "$*"
}

# die MESSAGE [EXIT_CODE]
die() {
  printf 'error: %s\n' "$1" >&2
  exit "${2:-$BAD_INPUT}"
}

# usage_of SCRIPT: prints the comment at its top, which is its help.
usage_of() {
  sed -n -e '1d' -e '/^#/!q' -e 's/^# \{0,1\}//p' -- "$1"
}

# set_up EXTRA...: sets PYTHON to an interpreter that has t2sql with these extras of setup.py.
# Whoever keeps an environment of their own names its interpreter in T2SQL_PYTHON.
set_up() {
  if [[ -n ${T2SQL_PYTHON:-} ]]; then
    PYTHON=$T2SQL_PYTHON
    return
  fi
  "$ROOT/launch/setup.sh" "$@"
  # shellcheck disable=SC2034  # read by the scripts that source this file
  PYTHON=$ROOT/.venv/bin/python
}

# tied_to_this_script COMMAND...: becomes the command, which the kernel kills when this script is
# gone, in whatever way; for functions in the background. A script that was gone before the kernel
# was told has left its child to another parent: then the command does not begin.
tied_to_this_script() {
  # shellcheck disable=SC2016  # for that shell to expand
  exec setpriv --pdeathsig KILL -- sh -c '[ "$PPID" = "$0" ] && exec "$@"' "$$" "$@"
}

# new_directory PATH: makes PATH, or PATH-2, PATH-3... where that is taken, and prints which.
new_directory() {
  local path=$1 count=1
  mkdir -p -- "$(dirname -- "$path")"
  until mkdir -- "$path" 2>/dev/null; do
    [[ -e $path ]] || die "cannot make the directory $path"
    count=$((count + 1))
    path=$1-$count
  done
  printf '%s\n' "$path"
}
