#!/usr/bin/env bash
# Runs `smem train` on a slice of TPU VMs: asks for it as a queued resource, starts a container on every
# host, watches it, starts again after a crash and asks again after a preemption, and gives the slice back.
#
#   launch/tpu_vm.sh --name NAME --zone ZONE --topology CHIP:SHAPE --image IMAGE --config FILE
#                    --workdir gs://BUCKET/PATH [section.field=value ...] [-- MORE ...]
#
#   --name NAME                name of the queued resource and of its node
#   --zone ZONE                zone, such as us-east5-a
#   --project PROJECT          project (that of the gcloud configuration)
#   --topology CHIP:SHAPE      as of `smem compile`: v4, v5e, v5p or v6e, as in v5p:2x2x4
#   --image IMAGE              image with smem and the configs (launch/Dockerfile)
#   --config FILE              as of `smem train`, as the image has it
#   --workdir gs://BUCKET/PATH work directory; the bucket is mounted at /bucket
#   --spot, --reserved         on Spot capacity, or on a reservation
#   --max-restarts N           restarts after preemptions and crashes (100)
#   --keep                     do not give the slice back at the end
#   --dry-run                  print the commands, run none
#   section.field=value, -- MORE   go to `smem train` as they are
#
# POLL_SECONDS is the time between two looks at a request that waits (30).
# Ctrl-C leaves the run as it is, and the same command watches it again. Bad input (exit status 2) is not
# tried again. What is not given back costs money: gcloud compute tpus queued-resources list.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/options.sh"

valued='name zone project topology image config workdir max-restarts' flags='spot reserved keep dry-run'
name='' zone='' project='' topology='' image='' config='' workdir='' max_restarts=100
spot='' reserved='' keep='' dry_run=''
parse "$@"
no_overwrite
need name zone topology image config workdir
[ -z "$spot" ] || [ -z "$reserved" ] || die "--spot and --reserved exclude each other"
capacity=${spot:+--spot}${reserved:+--reserved}
check_slice

# The request says how many cores (v4, v5p) or chips: the shape is the usual one of that number.
flat='1x1 2x2 2x4 4x4 4x8 8x8 8x16 16x16'
cubes='2x2x1 2x2x2 2x2x4 2x4x4 4x4x4 4x4x8 4x8x8 8x8x8 8x8x16 8x16x16'
case $chip in
  v4) version=tpu-ubuntu2204-base type=v4 cores=2 shapes=$cubes ;;
  v5p) version=v2-alpha-tpuv5 type=v5p cores=2 shapes=$cubes ;;
  v5e) version=v2-alpha-tpuv5-lite type=v5litepod cores=1 shapes=$flat ;;
  v6e) version=v2-alpha-tpuv6e type=v6e cores=1 shapes=$flat ;;
  *) die "--topology is '$topology'; the chip has to be v4, v5e, v5p or v6e, as in v5p:2x2x4" ;;
esac
[[ " $shapes " = *" $shape "* ]] ||
  die "--topology is '$topology'; the shape of a $chip slice is one of $shapes"
type+=-$((cores * ${shape//x/*}))

where=(--zone="$zone" ${project:+--project="$project"})
queued() { run gcloud compute tpus queued-resources "$1" "$name" "${where[@]}" "${@:2}"; }
run() {
  if [ -z "$dry_run" ]; then
    "$@"
    return
  fi
  local word line=''
  for word in "$@"; do
    case $word in
      *$'\n'*) line+=" '${word//\'/\'\\\'\'}'" ;; # lines stay lines
      *) printf -v line '%s %q' "$line" "$word" ;;
    esac
  done
  echo "${line# }"
}
request=(--node-id="$name" --accelerator-type="$type" --runtime-version="$version" ${capacity:+"$capacity"})

# What each host does, and may do again: mount the bucket, start the container unless it runs, follow it
# and end with its exit status. No cache of metadata, which such hosts keep for ever otherwise: they
# tell each other by files how far a checkpoint is.
printf -v train '%q ' "$image" smem train --distributed --config "$config" --workdir "/bucket/$path" \
  ${more[@]+"${more[@]}"}
registry=${image%%/*}
login=''
[[ $registry != *.pkg.dev && $registry != *gcr.io ]] || login="sudo gcloud --quiet auth configure-docker $registry"
host=$(
  cat <<END
set -eu
if ! mountpoint -q /bucket; then
  if ! command -v gcsfuse >/dev/null; then
    key=/usr/share/keyrings/cloud.google.asc
    source=https://packages.cloud.google.com/apt
    sudo curl -sSfo \$key \$source/doc/apt-key.gpg
    echo "deb [signed-by=\$key] \$source gcsfuse-\$(lsb_release -cs) main" |
      sudo tee /etc/apt/sources.list.d/gcsfuse.list
    sudo apt-get -qq update
    sudo DEBIAN_FRONTEND=noninteractive apt-get -qq install gcsfuse
  fi
  sudo mkdir -p /bucket
  sudo gcsfuse --implicit-dirs --metadata-cache-ttl-secs=0 --metadata-cache-negative-ttl-secs=0 \\
    $bucket /bucket
fi
if [ "\$(sudo docker inspect --format {{.State.Running}} smem 2>/dev/null)" != true ]; then
  sudo docker rm --force smem >/dev/null 2>&1 || true
  $login
  sudo docker run --detach --name smem --privileged --net=host --stop-timeout=120 \\
    --volume=/bucket:/bucket ${train% }
fi
sudo docker logs --follow --tail=100 smem
exit "\$(sudo docker wait smem)"
END
)
train_on_hosts() { run gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --worker=all --command="$host"; }

if [ -n "$dry_run" ]; then
  echo "# Asks for the slice unless it is there, and waits until its state is ACTIVE:"
  queued create "${request[@]}"
  queued describe '--format=value(state.state)'
  echo "# Starts the run on every host and watches it:"
  train_on_hosts
  echo "# Gives the slice back after a preemption, to ask again, and ${keep:+(--keep) not }at the end:"
  queued delete --force --quiet
  exit
fi
command -v gcloud >/dev/null || die "gcloud is not on the PATH; see docs/pods.md for what TPU VMs need"

look() { # sets `now` to the state of the request, to nothing where there is none
  local tries said
  # That gcloud cannot tell, for want of a network, say, is no reason to give a slice away.
  for ((tries = 0; tries < 20; tries++)); do
    [ "$tries" = 0 ] || sleep "${POLL_SECONDS:-30}"
    ! now=$(queued describe '--format=value(state.state)' 2>/dev/null) || return 0
    now=''
    said=$(queued describe '--format=value(state.state)' 2>&1 >/dev/null) || true
    case $said in *NOT_FOUND*) return 0 ;; esac
    echo "tpu_vm.sh: gcloud does not tell the state of $name: ${said##*$'\n'}" >&2
  done
  echo "tpu_vm.sh: error: nothing is known of $name, and nothing was given back" >&2
  exit 1
}
is_active() { # asks for the slice unless it is there, and waits for it
  look
  if [ -z "$now" ] && ! queued create "${request[@]}"; then
    [ "$restarts" -gt 0 ] || exit 1
    return 1
  fi
  local before=''
  while look; do
    [ "$now" = "$before" ] || echo "tpu_vm.sh: $name is ${now:-gone}"
    before=$now
    case $now in
      ACTIVE) return 0 ;;
      FAILED | SUSPEND* | DELETING | '') return 1 ;;
    esac
    sleep "${POLL_SECONDS:-30}"
  done
}

trap 'echo "tpu_vm.sh: the run goes on by itself; the same command watches it again" >&2; exit 130' INT TERM
status=1
for ((restarts = 0; restarts <= max_restarts; restarts++)); do
  if [ "$restarts" -gt 0 ]; then
    echo "tpu_vm.sh: restart $restarts of at most $max_restarts"
    sleep $((${POLL_SECONDS:-10} * (restarts < 6 ? restarts : 6)))
  fi
  if is_active; then
    status=0
    train_on_hosts || status=$?
    case $status in 0 | 2) break ;; esac
    look
    [ "$now" != ACTIVE ] || continue
  fi
  queued delete --force --quiet || true
done
if [ -n "$keep" ]; then
  echo "tpu_vm.sh: $name is kept and costs money until:" \
    "gcloud compute tpus queued-resources delete $name ${where[*]} --force"
else
  look
  [ -z "$now" ] || queued delete --force --quiet
fi
exit "$status"
