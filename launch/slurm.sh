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

grace=180 # seconds before the time limit at which the run is told to save

die() {
  echo "slurm.sh: error: $*" >&2
  exit 2
}

nodes='' gpus_per_node=8 cpus_per_task=8 config='' workdir='' dry_run='' options=() more=()
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h)
      sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
      exit
      ;;
    --dry-run) dry_run=yes ;;
    --)
      shift
      more+=("$@")
      break
      ;;
    --nodes | --gpus-per-node | --cpus-per-task | --config | --workdir)
      [ $# -gt 1 ] || die "$1 needs a value"
      name=${1#--}
      printf -v "${name//-/_}" %s "$2"
      shift
      ;;
    --sbatch)
      [ $# -gt 1 ] || die "--sbatch needs a value, such as --partition=gpu"
      options+=("$2")
      shift
      ;;
    [!-]*=*) more+=("$1") ;;
    *) die "unknown argument '$1'; see slurm.sh --help" ;;
  esac
  shift
done

for word in "${more[@]}"; do
  [ "$word" != --overwrite ] || die "--overwrite would drop the run at each restart; empty --workdir first"
done

for name in nodes config workdir; do
  [ -n "${!name}" ] || die "--$name is missing; see slurm.sh --help"
done
for name in nodes gpus_per_node cpus_per_task; do
  [[ ${!name} =~ ^[1-9][0-9]*$ ]] || die "--${name//_/-} is '${!name}'; it has to be 1 or more"
done
[ -f "$config" ] || die "--config $config: no such file"
workdir=${workdir%/}
read -r -a smem <<<"${SMEM:-smem}"
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
command -v "${smem[0]}" >/dev/null ||
  die "'${smem[0]}' is not on the PATH; activate its environment or set SMEM=/path/to/smem"
mkdir -p "$(dirname "$workdir")"
"${submit[@]}" <<<"$script"
