#!/usr/bin/env bash
# Submits `smem train` to SLURM: one process a GPU on a number of GPU nodes.
#
#   launch/slurm.sh --nodes N --config FILE --workdir DIR [section.field=value ...] [-- MORE ...]
#
#   --nodes N                      nodes
#   --gpus-per-node N              GPUs, and so processes, on each (8)
#   --cpus-per-task N              CPU cores of each process (8)
#   --config FILE, --workdir DIR   as of `smem train`; on a file system that all nodes share
#   --sbatch OPTION                a further option of sbatch, such as --sbatch --partition=gpu;
#                                  may be given several times
#   --dry-run                      print the sbatch command and the batch script, submit nothing
#   section.field=value, -- MORE   go to `smem train` as they are
#
# The active environment goes with the job; SMEM names the program (smem). The log stands beside the
# work directory. A job that is preempted, or loses a node, or reaches its time limit is put back into
# the queue and goes on from its last checkpoint; one that failed, or was cancelled, is not.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/options.sh"

grace=180 # seconds before the time limit at which the run is told to save

valued='nodes gpus-per-node cpus-per-task config workdir sbatch' flags='dry-run'
nodes='' gpus_per_node=8 cpus_per_task=8 config='' workdir='' dry_run='' options=()
set_option() {
  case $1 in
    sbatch) options+=("$2") ;;
    *) printf -v "$1" %s "$2" ;;
  esac
}
parse "$@"
no_overwrite
need nodes config workdir
positive nodes gpus_per_node cpus_per_task
[ -f "$config" ] || die "--config $config: no such file"
workdir=${workdir%/}
printf -v train '%q ' "${smem[@]}" train --distributed --config "$config" --workdir "$workdir" \
  ${more[@]+"${more[@]}"}

# No GPU is bound to a task, since JAX gives process i of a node the node's GPU i.
submit=(sbatch --job-name=smem-train --nodes="$nodes" --ntasks-per-node="$gpus_per_node"
  --gpus-per-node="$gpus_per_node" --cpus-per-task="$cpus_per_task" --requeue
  --signal="B:USR1@$grace" --open-mode=append --output="$workdir.slurm-%j.log"
  ${options[@]+"${options[@]}"})

# The signal before the time limit comes to the batch script alone and is not the SIGTERM of `scancel`:
# what a user cancelled must not come back. It goes on to the steps by way of scancel, since srun makes
# SIGKILL of a SIGTERM of its own. A process that ends does not end the others at once, as they may
# still be saving; after --wait seconds it does, as after a crash.
script=$(
  cat <<END
#!/usr/bin/env bash
export XLA_PYTHON_CLIENT_MEM_FRACTION=\${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.92}
again=
trap 'again=yes; scancel --signal=TERM "\$SLURM_JOB_ID"' USR1
trap : TERM
srun --cpus-per-task=$cpus_per_task --kill-on-bad-exit=0 --wait=$grace ${train% } &
step=\$!
while kill -0 "\$step" 2>/dev/null; do wait "\$step"; done
wait "\$step"
status=\$?
if [ -n "\$again" ] && [ "\$status" -eq 143 ]; then scontrol requeue "\$SLURM_JOB_ID"; fi
exit "\$status"
END
)

if [ -n "$dry_run" ]; then
  printf '%q ' "${submit[@]}"
  printf "<<'END'\n%s\nEND\n" "$script"
  exit
fi
command -v sbatch >/dev/null || die "sbatch is not on the PATH; run this on a SLURM login node"
need_program
mkdir -p "$(dirname "$workdir")"
"${submit[@]}" <<<"$script"
