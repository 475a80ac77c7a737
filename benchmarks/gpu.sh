#!/usr/bin/env bash
# Everything that wants an NVIDIA GPU, in one call of at most eight minutes: first whether the
# results are right, then what they take. Wants jax with CUDA, optax, numpy and, to compare with,
# torch; nothing of this project has to be installed.
#
#     bash benchmarks/gpu.sh [OUTPUT_FOLDER]    # benchmarks/results/ unless given
#
# Results are written as they come. Exits with 1 where a result is wrong (what can still be timed
# is), with 2 where there is no GPU.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
OUTPUT=${1:-benchmarks/results}
PYTHON=${PYTHON:-python3}
mkdir -p "$OUTPUT"
export CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-0}
export XLA_PYTHON_CLIENT_MEM_FRACTION=0.6  # PyTorch wants some, too
deadline=$((SECONDS + 470))
status=0

if ! "$PYTHON" -c 'import jax, sys; sys.exit(jax.default_backend() != "gpu")'; then
  echo "gpu.sh: $PYTHON finds no GPU with JAX; one of NVIDIA's, Ampere or later, is right" >&2
  exit 2
fi

part() { # NAME SECONDS COMMAND...: a part may take so long, and no longer than is left
  local name=$1 left=$((deadline - SECONDS)) limit=$2
  shift 2
  echo "== $name"
  if ! timeout "$((limit < left ? limit : left))" "$@"; then
    echo "== $name failed"
    status=1
  fi
}

part correctness 150 "$PYTHON" -m benchmarks.gpu_check --output "$OUTPUT/gpu_check.json"
part lookup 160 "$PYTHON" -m benchmarks.lookup --rounds 11 --output "$OUTPUT/gpu_lookup.json"
part step 160 "$PYTHON" -m benchmarks.step --rounds 11 --sizes '2**14' '2**18' '2**22' \
  --output "$OUTPUT/gpu_step.json"
exit $status
