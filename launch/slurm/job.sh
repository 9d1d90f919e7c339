#!/usr/bin/env bash
# The main job on GPU nodes of a Slurm cluster: one task on each node takes all its GPUs.
#
#   sbatch launch/slurm/job.sh --config.data.path=SPIDER_DIR --config.output=/shared/runs/dev
#   sbatch --nodes=4 --gpus-per-node=8 --time=02:00:00 launch/slurm/job.sh ...
#   sbatch --nodes=1 --array=0-7 launch/slurm/job.sh ...    # eight jobs that never wait for another
#
# Submit it from the repository, after launch/setup.sh weights gpu, both on a disk that the nodes
# share. --config is configs/gpu.py where none is given; the output has to be on a shared disk or in
# a bucket. The same command goes on with a run that was cut off: sbatch's --requeue does so by
# itself where a node fails or is preempted, and SIGTERM comes 90 s before the time is over.
#SBATCH --job-name=t2sql
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --time=01:00:00
#SBATCH --signal=TERM@90
#SBATCH --requeue
#SBATCH --output=t2sql-%j.log
set -euo pipefail

# Slurm runs a copy of this script, from a directory of its own.
ROOT=${SLURM_SUBMIT_DIR:?start this with sbatch}
[[ -x $ROOT/.venv/bin/python ]] || {
  echo "error: $ROOT has no .venv: sbatch from the repository, after launch/setup.sh" >&2
  exit 2
}
export JAX_PLATFORMS=cuda,cpu XLA_PYTHON_CLIENT_MEM_FRACTION=${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.9}
# The jobs of an array are hosts of one run here (docs/hosts.md).
[[ -z ${SLURM_ARRAY_TASK_COUNT:-} ]] || export T2SQL_NUM_REPLICAS=$SLURM_ARRAY_TASK_COUNT
[[ " $*" == *" --config="* ]] || set -- --config="$ROOT/configs/gpu.py" "$@"
cd -- "$ROOT"
exec srun "$ROOT/.venv/bin/python" -m t2sql.main "$@"
