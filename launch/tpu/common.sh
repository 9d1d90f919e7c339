# shellcheck shell=bash disable=SC2034  # the scripts that source this file read what it sets
# Sourced by launch/tpu/*.sh: settings and flags, gcloud, what state the slice is in.

# shellcheck source=launch/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"

readonly TPU=$ROOT/launch/tpu
readonly SETTINGS_FILE=$TPU/settings.sh
readonly REFUSED=3 TRY_AGAIN=75 # as in t2sql/errors.py
readonly LONGEST_CALL=${T2SQL_LONGEST_CALL:-3600} # of gcloud, seconds; nobody may be watching
readonly SSH_OPTIONS=(-oConnectTimeout=20 -oServerAliveInterval=15) # 3 without an answer: lost
readonly WORKER_SCRIPT=t2sql/current/launch/tpu/worker.sh # on the worker
DRY_RUN=no
RESTART=no
FRESH=no
YES=no
KEEP=no
SWITCHES=        # which of the four above a script takes, as flags
WARM=no          # whether SSH to the slice was tried
SETTING_FLAGS=() # the settings among the flags, for another script
JOB_FLAGS=()     # what stands behind --
exec 3>&1    # dry runs print commands here, from within $(...) too
# Else bash would go on where Ctrl-C finds a gcloud that ends by itself at this moment.
trap 'exit 130' INT

# read_settings ARGUMENT...: the settings file, then --settings=FILE, then the flags.
read_settings() {
  local argument known
  # shellcheck source=launch/tpu/settings.sh
  source "$SETTINGS_FILE"
  for argument in "$@"; do
    [[ $argument != -- ]] || break
    [[ $argument != --settings=* ]] || read_own_settings "${argument#*=}"
  done
  known=$(names_in "$SETTINGS_FILE")
  while (($#)); do
    argument=$1
    shift
    case $argument in
      --settings=*) SETTING_FLAGS+=("$argument") ;;
      --dry-run) DRY_RUN=yes ;;
      --restart | --fresh | --yes | --keep) set_switch "$argument" ;;
      -h | --help) usage_of "$0" && exit ;;
      --) break ;;
      --*=*) set_flag "$argument" "$known" ;;
      *) die "unexpected argument '$argument': see --help" ;;
    esac
  done
  JOB_FLAGS=("$@")
  check_settings
}

# Capitals that are no setting would be a misspelt one, and the default be paid for.
read_own_settings() {
  [[ -f $1 ]] || die "--settings=$1: there is no such file"
  local unknown
  unknown=$(grep -vxF -f <(names_in "$SETTINGS_FILE") <(names_in "$1") | head -n 1 || true)
  [[ -z $unknown ]] || die "--settings=$1: there is no setting $unknown: see $SETTINGS_FILE"
  # shellcheck source=/dev/null
  source "$(realpath -- "$1")"
}

# names_in FILE: prints the names of the settings that it gives.
names_in() {
  sed -n 's/^\([A-Z_]*\)=.*/\1/p' -- "$1"
}

# set_switch --YES
set_switch() {
  [[ " $SWITCHES " == *" $1 "* ]] || die "$(basename -- "$0") takes no $1: see --help"
  local name=${1#--}
  printf -v "${name^^}" yes
}

# set_flag --ACCELERATOR-TYPE=VALUE KNOWN
set_flag() {
  local name=${1%%=*}
  name=${name#--}
  name=${name//-/_}
  name=${name^^}
  grep -qx -- "$name" <<<"$2" || die "unknown flag '${1%%=*}': the settings are in $SETTINGS_FILE"
  printf -v "$name" %s "${1#*=}"
  SETTING_FLAGS+=("$1")
}

check_settings() {
  [[ -n $ZONE ]] || die "ZONE is empty: set it in $SETTINGS_FILE, or give --zone=ZONE"
  [[ $NAME =~ ^[a-z][-a-z0-9]{0,61}$ ]] ||
    die "NAME is '$NAME': expected lower-case letters, digits and dashes, a letter first"
  [[ $PROVISIONING =~ ^(spot|on-demand|reserved|flex-start)$ ]] ||
    die "PROVISIONING is '$PROVISIONING': expected spot or on-demand, reserved or flex-start"
  [[ -z $RESERVATION || $PROVISIONING == reserved ]] ||
    die "RESERVATION is '$RESERVATION', which PROVISIONING=$PROVISIONING does not use: give \
--provisioning=reserved"
  [[ -z $MAX_RUN_DURATION || $PROVISIONING == flex-start ]] ||
    die "MAX_RUN_DURATION is '$MAX_RUN_DURATION': Google takes one with flex-start only, not with \
PROVISIONING=$PROVISIONING"
  [[ -z $TOPOLOGY ]] || check_topology
  seconds_of "$VALID_UNTIL_DURATION" >/dev/null
  [[ -z $MAX_RUN_DURATION ]] || seconds_of "$MAX_RUN_DURATION" >/dev/null
  [[ $INTERNAL_IPS =~ ^(yes|no)$ ]] || die "INTERNAL_IPS is '$INTERNAL_IPS': expected yes or no"
  local name
  for name in COORDINATOR_PORT MAX_RESTARTS POLL_SECONDS MAX_SUBMISSIONS MAX_RECREATIONS MAX_REQUESTS \
    MAX_HOURS MAX_IDLE_MINUTES MAX_STALLED_MINUTES; do
    [[ ${!name} =~ ^(0|[1-9][0-9]*)$ ]] || die "$name is '${!name}': expected a number"
  done
  RESULTS=${RESULTS:-$ROOT/runs/tpu-$NAME}
  TARGET=(--zone="$ZONE")
  [[ -z $PROJECT ]] || TARGET+=(--project="$PROJECT")
}

# Another number of chips would be other hosts than the workers are told.
check_topology() {
  local chips cores=2
  case $(generation_of "$ACCELERATOR_TYPE") in v5litepod | v6e) cores=1 ;; esac
  [[ $TOPOLOGY =~ ^[1-9][0-9]*(x[1-9][0-9]*){1,2}$ ]] ||
    die "TOPOLOGY is '$TOPOLOGY': expected one such as 4x4"
  chips=$((${TOPOLOGY//x/*}))
  ((chips * cores == ${ACCELERATOR_TYPE##*-})) ||
    die "TOPOLOGY=$TOPOLOGY has $chips chips, which is not $ACCELERATOR_TYPE"
}

# seconds_of DURATION: such as 6h, 90m or 1d12h, as gcloud takes it.
seconds_of() {
  [[ $1 =~ ^([1-9][0-9]*[dhms])+$ ]] || die "'$1' is no duration: expected one such as 6h"
  local sum=${1//d/*86400+}
  sum=${sum//h/*3600+}
  sum=${sum//m/*60+}
  sum=${sum//s/+}0
  echo "$((sum))"
}

# Neither the bucket itself nor a wildcard of gcloud: --fresh deletes what OUTPUT holds.
need_output() {
  local name='[^][/*?]+'
  [[ $OUTPUT =~ ^gs://$name(/$name)+/?$ ]] ||
    die "OUTPUT is '$OUTPUT': expected the run directory as gs://BUCKET/RUN (--output=...)"
  OUTPUT=${OUTPUT%/}
}

# check_job: sets COMMIT to the full name of the commit that is to run, on every worker the same.
check_job() {
  local named=$COMMIT
  COMMIT=$(git -C "$ROOT" rev-parse --verify --quiet "$named^{commit}") ||
    die "COMMIT is '$named': $ROOT has no such commit"
  [[ $named != HEAD || -z $(git -C "$ROOT" status --porcelain --untracked-files=no) ]] ||
    die "there are changes that are not committed, and would not run: commit them, or name what \
is to run with --commit=${COMMIT:0:12}"
  [[ $(git -C "$ROOT" rev-parse --is-shallow-repository) == false ]] ||
    die "$ROOT is a shallow clone, of which the workers could unpack no commit: \
git fetch --unshallow"
  git -C "$ROOT" cat-file -e "$COMMIT:$CONFIG" 2>/dev/null ||
    die "CONFIG is '$CONFIG': commit ${COMMIT:0:12} has no such file"
  [[ -z $KAGGLE_FILE ]] || check_kaggle_file
  check_job_flags
  [[ $DRY_RUN == yes ]] || check_ssh_agent
}

# A job with another output would be paid for and never seen to end; one that overwrites would
# delete what it wrote whenever its supervisor starts it again.
check_job_flags() {
  local flag
  for flag in "${JOB_FLAGS[@]}"; do
    case $flag in
      --config | --config=*) die "$flag: give --config before the --, which is for what else \
t2sql.main takes" ;;
      --config.output*) die "$flag: give --output before the --" ;;
      --config.overwrite* | --noconfig.overwrite*)
        die "$flag: the job would start over after every crash; --fresh does it once" ;;
      --?*) ;;
      *) die "'$flag' is no flag of t2sql.main: each is written --NAME=VALUE" ;;
    esac
  done
}

# gcloud's own rule, which it applies when the slice is there and is paid for.
check_ssh_agent() {
  local key=$HOME/.ssh/google_compute_engine held fingerprint hosts
  held=$(ssh-add -l 2>/dev/null) || return 0 # no agent, or an empty one
  hosts=$(hosts_of "$ACCELERATOR_TYPE")
  fingerprint=$(ssh-keygen -lf "$key" 2>/dev/null | cut -d ' ' -f 2) || fingerprint="of no key"
  ((hosts == 1)) || grep -qF -- "$fingerprint" <<<"$held" ||
    die "your SSH agent holds other keys, but not gcloud's, and so gcloud will copy nothing to \
several workers: ssh-add $key, or run this with 'env -u SSH_AUTH_SOCK'"
}

check_kaggle_file() {
  [[ -f $KAGGLE_FILE ]] || die "KAGGLE_FILE is '$KAGGLE_FILE': there is no such file"
  [[ -z $(find -L "$KAGGLE_FILE" -perm /077) ]] ||
    die "$KAGGLE_FILE can be read by others on this machine: chmod 600 it first"
}

# act ARGUMENT...: gcloud does something; a dry run prints the command.
act() {
  ask "" "$@"
}

# ask ANSWER ARGUMENT...: gcloud tells something; a dry run prints the command and takes ANSWER.
ask() {
  local answer=$1
  shift
  if [[ $DRY_RUN == yes ]]; then
    show_command gcloud "$@"
    [[ -z $answer ]] || printf '%s\n' "$answer"
  else
    timeout --foreground --kill-after=10 "$LONGEST_CALL" gcloud "$@"
  fi
}

show_command() {
  words "$@" >&3
}

# words WORD...: the words as one would type them in a shell, quoted where they have to be.
words() {
  local word line=
  for word in "$@"; do
    [[ $word =~ ^[A-Za-z0-9_./:=@,+%~-]+$ ]] || word=${word@Q}
    line+=" $word"
  done
  printf '%s\n' "${line# }"
}

# say, but what a dry run prints can be pasted into a shell.
say() {
  [[ $DRY_RUN == no ]] || printf '# '
  printf '%s\n' "$*"
}

# slice_state DRY_ANSWER: prints the state of the queued resource, ABSENT where there is none.
# Fails where gcloud does not know, and shows why.
slice_state() {
  answer_or_absent NOT_FOUND "$1" compute tpus queued-resources describe "$NAME" "${TARGET[@]}" \
    --format='value(state.state)'
}

# vm_state DRY_ANSWER: the same of the TPU VM, which is READY, PREEMPTED...
vm_state() {
  answer_or_absent NOT_FOUND "$1" compute tpus tpu-vm describe "$NAME" "${TARGET[@]}" \
    --format='value(state)'
}

# object_url URL DRY_ANSWER: prints the URL where that object exists, else ABSENT.
object_url() {
  answer_or_absent "matched no objects" "$2" storage ls "$1"
}

# answer_or_absent MARK DRY_ANSWER ARGUMENT...: what gcloud answers; ABSENT where it says MARK.
answer_or_absent() {
  local mark=$1 errors status=0
  shift
  errors=$(mktemp)
  ask "$@" 2>"$errors" || status=$?
  if ((status)) && grep -q -- "$mark" "$errors"; then
    printf 'ABSENT\n'
    status=0
  fi
  ((status == 0)) || cat -- "$errors" >&2
  rm -f -- "$errors"
  return "$status"
}

# addresses: internal addresses of the workers, one a line, in the order of the workers.
addresses() {
  local placeholders
  placeholders=$(seq -f 'ADDRESS-OF-WORKER-%g' 0 "$(($(hosts_of "$ACCELERATOR_TYPE") - 1))")
  ask "$placeholders" compute tpus tpu-vm describe "$NAME" "${TARGET[@]}" \
    --flatten='networkEndpoints[]' --format='value(networkEndpoints.ipAddress)'
}

# warm_ssh: the first connection makes a key and spreads it; all workers at once would each try to.
warm_ssh() {
  [[ $WARM == no ]] || return 0
  on_workers 0 true && WARM=yes
}

# on_workers WORKER COMMAND FLAG_OF_ssh...: COMMAND is for the shell of the worker, in the home
# directory; WORKER is a number from 0, or all. A dry run answers with DRY_ANSWER.
on_workers() {
  local worker=$1 command=$2
  shift 2
  [[ $INTERNAL_IPS == no ]] || set -- --internal-ip "$@"
  ask "${DRY_ANSWER:-}" compute tpus tpu-vm ssh "$NAME" "${TARGET[@]}" --quiet \
    --strict-host-key-checking=no "${SSH_OPTIONS[@]/#/--ssh-flag=}" --worker="$worker" \
    --command="$command" "$@"
}

# worker_states [DRY_ANSWER]: prints a line of every worker, see worker.sh.
worker_states() {
  DRY_ANSWER=${1:-worker 0 running, restarted 0 times} on_workers all \
    "if [ -e t2sql/current ]; then bash $WORKER_SCRIPT state; else echo 'worker ? idle'; fi"
}

# progress: prints how many units of the run are written; fails where the bucket cannot be read.
progress() {
  local manifest units written
  manifest=$(object_url "$OUTPUT/run.json" "$OUTPUT/run.json") || return
  if [[ $manifest == ABSENT ]]; then
    say "no unit is written: the run has not begun"
    return
  fi
  manifest=$(ask '{"units": 40}' storage cat "$OUTPUT/run.json") || return
  units=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["units"])' <<<"$manifest")
  written=$(answer_or_absent "matched no objects" "" storage ls "$OUTPUT/predictions/") || return
  written=$(grep -c '\.jsonl$' <<<"$written" || true)
  say "$written of $units units are written"
}

# Refuses where something else than a run lies there: the directory above several runs, perhaps.
delete_output() {
  local objects other
  objects=$(object_url "$OUTPUT/**" "$OUTPUT/run.json")
  other=$(grep -vxE -e 'ABSENT|' -e '(run|done)\.json' -e '(predictions|checksums|broken|prepared|logs)/[^/]*' \
    <<<"${objects//"$OUTPUT/"/}" | head -n 1 || true)
  [[ -z $other ]] ||
    die "$OUTPUT is not one run alone, there is also $other: nothing was deleted" "$REFUSED"
  [[ $objects == ABSENT ]] || act storage rm --recursive --quiet "$OUTPUT"
}

# generation_of ACCELERATOR_TYPE: v5litepod of v5litepod-16
generation_of() {
  printf '%s\n' "${1%-*}"
}

# The image for JAX of each generation, from Google's page "TPU software versions".
runtime_version() {
  if [[ $RUNTIME_VERSION != auto ]]; then
    printf '%s\n' "$RUNTIME_VERSION"
    return
  fi
  case $(generation_of "$ACCELERATOR_TYPE") in
    v2 | v3 | v4) echo tpu-ubuntu2204-base ;;
    v5litepod) echo v2-alpha-tpuv5-lite ;;
    v5p) echo v2-alpha-tpuv5 ;;
    v6e) echo v2-alpha-tpuv6e ;;
    *) die "no image is known for ACCELERATOR_TYPE=$ACCELERATOR_TYPE: set RUNTIME_VERSION" ;;
  esac
}

# hosts_of ACCELERATOR_TYPE: v5e and v6e count chips, 8 on a host that is alone and 4 on one of
# several; the others count cores, 8 on a host.
hosts_of() {
  local size=${1##*-}
  [[ $1 == *-* && $size =~ ^[1-9][0-9]*$ ]] ||
    die "ACCELERATOR_TYPE is '$1': expected one such as v5litepod-16"
  case $(generation_of "$1") in
    v5litepod | v6e) echo "$((size <= 8 ? 1 : size / 4))" ;;
    *) echo "$((size <= 8 ? 1 : size / 8))" ;;
  esac
}

# ask_user QUESTION: true where the user types y, or gave --yes.
ask_user() {
  local answer
  [[ $YES == no ]] || return 0
  [[ -t 0 ]] || die "nobody is here to ask '$1': give --yes to go ahead"
  read -r -p "$1 [y/N] " answer
  [[ $answer == [yY]* ]]
}
