#!/usr/bin/env bash
# Creates a JobSet that runs `smem train` on one TPU slice of a GKE cluster, one process a host.
#
#   launch/gke.sh --name NAME --topology CHIP:SHAPE --image IMAGE --config FILE
#                 --workdir gs://BUCKET/PATH [section.field=value ...] [-- MORE ...]
#
#   --name NAME                name of the JobSet
#   --topology CHIP:SHAPE      as of `smem compile`: v4, v5e, v5p, v6e or tpu7x, as in v5p:2x2x4
#   --image IMAGE              image with smem and the configs (launch/Dockerfile)
#   --config FILE              as of `smem train`, as the image has it
#   --workdir gs://BUCKET/PATH work directory; the bucket is mounted at /bucket
#   --spot                     on Spot capacity
#   --max-restarts N           restarts after preemptions and crashes (100)
#   --dry-run                  print the manifest, create nothing
#   section.field=value, -- MORE   go to `smem train` as they are
#
# A restart goes on from the last checkpoint. Bad input (exit status 2) is not tried again. To start a
# JobSet of the same name again: kubectl delete jobset NAME.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/options.sh"

valued='name topology image config workdir max-restarts' flags='spot dry-run'
name='' topology='' image='' config='' workdir='' spot='' max_restarts=100 dry_run=''
parse "$@"
no_overwrite
need name topology image config workdir
check_slice

flat='1x1 2x2 2x4 4x4 4x8 8x8 8x16 16x16' cubes='2x2x1 2x2x2 2x2x4 2x4x4'
case $chip in
  v4) accelerator=tpu-v4-podslice shapes=$cubes ;;
  v5p) accelerator=tpu-v5p-slice shapes=$cubes ;;
  tpu7x) accelerator=tpu7x shapes=$cubes ;;
  v5e) accelerator=tpu-v5-lite-podslice shapes=$flat ;;
  v6e) accelerator=tpu-v6e-slice shapes=$flat ;;
  *) die "--topology is '$topology'; the chip has to be v4, v5e, v5p, v6e or tpu7x, as in v5p:2x2x4" ;;
esac
larger() { # whether the shape is made of whole cubes of 4x4x4
  [[ $shapes = "$cubes" && $shape =~ ^([1-9][0-9]*)x([1-9][0-9]*)x([1-9][0-9]*)$ ]] || return 1
  local a=${BASH_REMATCH[1]} b=${BASH_REMATCH[2]} c=${BASH_REMATCH[3]}
  ((a % 4 == 0 && b % 4 == 0 && c % 4 == 0 && a <= b && b <= c))
}
if [[ " $shapes " != *" $shape "* ]] && ! larger; then
  [ "$shapes" = "$flat" ] || shapes+=' or AxBxC of multiples of 4 with A <= B <= C'
  die "--topology is '$topology'; the shape of a $chip slice is one of $shapes"
fi
chips=$((${shape//x/*}))
# A host has four chips; the small two-dimensional slices are one host of 1, 4 or 8.
case $shape in
  1x1 | 2x4) hosts=1 ;;
  *) hosts=$((chips / 4)) ;;
esac

text() { # a YAML string in double quotes
  local value=${1//\\/\\\\}
  value=${value//\"/\\\"}
  printf '"%s"' "${value//$'\n'/\\n}"
}
arguments=''
for word in smem train --distributed --config "$config" --workdir "/bucket/$path" ${more[@]+"${more[@]}"}; do
  arguments+=$'\n'"                    - $(text "$word")"
done
selector='' security='' unlock=''
[ -z "$spot" ] || selector=$'\n                cloud.google.com/gke-spot: "true"'
case $chip in
  v4 | v5*) # the driver locks host memory, which takes privileges before v6e
    security=$'\n                  securityContext:\n                    capabilities: {add: [SYS_RESOURCE]}'
    unlock='ulimit -l 68719476736; '
    ;;
esac

# Exclusive topology: all hosts of a slice are of one node pool, though others may look the same.
# JobSet starts again at once; a later attempt waits up to a minute, all hosts alike.
# The bucket is mounted without a cache of metadata, for ever on such hosts otherwise: the hosts tell
# each other by files how far a checkpoint is.
manifest=$(
  cat <<END
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: $(text "$name")
  annotations:
    alpha.jobset.sigs.k8s.io/exclusive-topology: cloud.google.com/gke-nodepool
spec:
  failurePolicy:
    maxRestarts: $max_restarts
    rules:
      - name: badInput
        action: FailJobSet
        onJobFailureReasons: [PodFailurePolicy]
  replicatedJobs:
    - name: train
      replicas: 1
      template:
        spec:
          parallelism: $hosts
          completions: $hosts
          completionMode: Indexed
          backoffLimit: 0
          podFailurePolicy:
            rules:
              - action: FailJob
                onExitCodes: {containerName: train, operator: In, values: [2]}
          template:
            metadata:
              annotations:
                gke-gcsfuse/volumes: "true"
            spec:
              restartPolicy: Never
              terminationGracePeriodSeconds: 300
              nodeSelector:
                cloud.google.com/gke-tpu-accelerator: $accelerator
                cloud.google.com/gke-tpu-topology: $shape$selector
              tolerations:
                - {key: cloud.google.com/gke-spot, operator: Equal, value: "true", effect: NoSchedule}
              containers:
                - name: train
                  image: $(text "$image")
                  command:
                    - sh
                    - -c
                    - '${unlock}case \$ATTEMPT in [0-5]) sleep \${ATTEMPT}0 ;; *) sleep 60 ;; esac; exec "\$@"'
                    - train
                  args:$arguments
                  env:
                    - name: ATTEMPT
                      valueFrom:
                        fieldRef: {fieldPath: "metadata.annotations['jobset.sigs.k8s.io/restart-attempt']"}
                  resources:
                    requests: {google.com/tpu: $((chips / hosts))}
                    limits: {google.com/tpu: $((chips / hosts))}$security
                  volumeMounts:
                    - {name: bucket, mountPath: /bucket}
              volumes:
                - name: bucket
                  csi:
                    driver: gcsfuse.csi.storage.gke.io
                    volumeAttributes:
                      bucketName: $(text "$bucket")
                      mountOptions: implicit-dirs,metadata-cache:ttl-secs:0,metadata-cache:negative-ttl-secs:0
END
)

if [ -n "$dry_run" ]; then
  echo "$manifest"
  exit
fi
command -v kubectl >/dev/null || die "kubectl is not on the PATH; see docs/pods.md for what GKE needs"
kubectl create -f - <<<"$manifest"
echo "Watch it: kubectl get jobset $name; kubectl logs -f -l jobset.sigs.k8s.io/jobset-name=$name -c train --max-log-requests=256"
