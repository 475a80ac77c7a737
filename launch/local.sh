#!/usr/bin/env bash
# Tries a multi-process run out on one machine: `smem train` as two processes that find each other
# over loopback, with four simulated devices each.
#
#   launch/local.sh --config FILE --workdir DIR [section.field=value ...] [-- MORE ...]
#
#   --config FILE, --workdir DIR   as of `smem train`
#   --num-processes N              processes (2)
#   --devices N                    simulated devices of each (4)
#   --port PORT                    where process 0 listens (one that is free)
#   --dry-run                      print the commands, start nothing
#   section.field=value, -- MORE   go to `smem train` as they are
#
# SMEM names the program (smem), possibly with arguments. SIGTERM and SIGINT go on to every process.
# When one fails the others get SIGTERM, GRACE seconds later (20) SIGKILL, since they may wait for it in
# vain; its exit status is this script's.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/options.sh"

grace=${GRACE:-20}

valued='config workdir num-processes devices port' flags='dry-run'
config='' workdir='' num_processes=2 devices=4 port='' dry_run=''
parse "$@"
need config workdir
positive num_processes devices

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
while [ -z "$port" ] || { [ "$port" = "${drawn:-}" ] && answers "$port"; }; do
  drawn=$((20000 + RANDOM % 12000))
  port=$drawn
done
[[ $port =~ ^[1-9][0-9]{0,4}$ ]] && [ "$port" -lt 65536 ] || die "--port is '$port'; it has to be 1 to 65535"

XLA_FLAGS="${XLA_FLAGS:+$XLA_FLAGS }--xla_force_host_platform_device_count=$devices"
command_of() { # sets `command` for process $1
  command=("${smem[@]}" train --config "$config" --workdir "$workdir" --coordinator "127.0.0.1:$port"
    --num-processes "$num_processes" --process-id "$1" ${more[@]+"${more[@]}"})
}

if [ -n "$dry_run" ]; then
  for ((i = 0; i < num_processes; i++)); do
    command_of "$i"
    printf 'JAX_PLATFORMS=cpu XLA_FLAGS=%q' "$XLA_FLAGS"
    printf ' %q' "${command[@]}"
    echo
  done
  exit
fi
need_program

export JAX_PLATFORMS=cpu XLA_FLAGS
pids=() readers=() stopping=''
pipes=$(mktemp -d)
trap 'rm -rf "$pipes"' EXIT
# shellcheck disable=SC2317,SC2329  # called by the traps
pass_on() {
  stopping=$1
  kill -s "$1" ${pids[@]+"${pids[@]}"} 2>/dev/null || true
}
trap 'pass_on TERM' TERM
trap 'pass_on INT' INT

# Job control gives each process a group of its own: Ctrl-C reaches it through this script alone, and
# not as the ignored signal that a background process inherits.
set -m
for ((i = 0; i < num_processes && ${#stopping} == 0; i++)); do
  mkfifo "$pipes/$i"
  while IFS= read -r line || [ -n "$line" ]; do printf '[%s] %s\n' "$i" "$line"; done <"$pipes/$i" &
  readers+=("$!")
  command_of "$i"
  "${command[@]}" >"$pipes/$i" 2>&1 </dev/null &
  pids+=("$!")
done
set +m

running() { kill -0 "$1" 2>/dev/null; }
status=0 ended=''
while :; do
  left=()
  for pid in ${pids[@]+"${pids[@]}"}; do
    if running "$pid"; then
      left+=("$pid")
      continue
    fi
    code=0
    wait "$pid" 2>/dev/null || code=$?
    [ "$status" -ne 0 ] || status=$code
  done
  pids=(${left[@]+"${left[@]}"})
  [ ${#pids[@]} -gt 0 ] || break
  # After a signal to all they save together and end by themselves.
  if [ "$status" -ne 0 ] && [ -z "$stopping" ]; then
    if [ -z "$ended" ]; then
      echo "local.sh: a process ended with exit status $status; ending the others" >&2
      kill -s TERM "${pids[@]}" 2>/dev/null || true
      ended=$SECONDS
    elif [ $((SECONDS - ended)) -ge "$grace" ]; then
      kill -s KILL "${pids[@]}" 2>/dev/null || true
    fi
  fi
  sleep 0.2
done
for reader in ${readers[@]+"${readers[@]}"}; do wait "$reader" || true; done
exit "$status"
