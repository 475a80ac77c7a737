#!/usr/bin/env bash
# The streams of configs/sweeps/facts.py on one GPU, in the paper's batches of 64 passages.
#
#   bash benchmarks/streams_gpu.sh [SECONDS]
#
# Stops after SECONDS (1,500 unless given); what is finished is kept, and the same command goes on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=${1:-1500}
smem=("${PYTHON:-python3}" -m smem_jax.cli)
results=benchmarks/results/streams/facts_gpu.jsonl
runs=(--config configs/sweeps/facts.py --results "$results" --workdirs runs/sweep_gpu)
fields=(compute_dtype=bfloat16 lessons.passages=64)

started=$SECONDS
# What the headline needs comes first, then the other learning rates, seeds and ablations.
for only in all_sparse_learning_rate0.4_seed0 all_lora_learning_rate0.0003_seed0 \
  all_full_learning_rate{1,3}e-05_seed0 all_lora_learning_rate0.0001_seed0 'all_*_seed0' 'all_*'; do
  left=$((seconds - (SECONDS - started)))
  if [ "$left" -le 0 ]; then break; fi
  # 124: the time is up, 130: an interrupted sweep, which is what timeout asks of it.
  timeout --signal=INT --kill-after=30 "$left" \
    "${smem[@]}" sweep "${runs[@]}" --only "$only" "${fields[@]}" || [[ $? =~ ^(124|130)$ ]]
done
if [ -s "$results" ]; then
  "${smem[@]}" report benchmarks/results/streams/*.jsonl --output docs/RESULTS.md
fi
