#!/usr/bin/env bash
# Trains on all GPUs of this host: one process of `smem train`, which sees every GPU.
#
#   launch/gpu_host.sh --config FILE --workdir DIR [section.field=value ...] [-- MORE ...]
#
#   --config FILE, --workdir DIR   as of `smem train`
#   --dry-run                      print the command, start nothing
#   section.field=value, -- MORE   go to `smem train` as they are
#
# SMEM names the program (smem). CUDA_VISIBLE_DEVICES picks some of the GPUs. SIGTERM saves the state
# and ends the run with exit status 143; the same command goes on.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/options.sh"

valued='config workdir' flags='dry-run'
config='' workdir='' dry_run=''
parse "$@"
need config workdir
command=("${smem[@]}" train --config "$config" --workdir "$workdir" ${more[@]+"${more[@]}"})
# JAX takes three quarters of a GPU's memory unless told otherwise.
export XLA_PYTHON_CLIENT_MEM_FRACTION=${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.92}

if [ -n "$dry_run" ]; then
  printf 'XLA_PYTHON_CLIENT_MEM_FRACTION=%q' "$XLA_PYTHON_CLIENT_MEM_FRACTION"
  printf ' %q' "${command[@]}"
  echo
  exit
fi
# Without a driver JAX would train on the CPU, and not say much about it.
command -v nvidia-smi >/dev/null ||
  die "nvidia-smi is not on the PATH, so this host has no NVIDIA driver; launch/local.sh needs no GPU"
need_program
exec "${command[@]}"
