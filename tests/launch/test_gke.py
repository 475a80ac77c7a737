"""launch/gke.sh: the JobSet that it makes, against the schema of its API."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest
import yaml

SCHEMA = json.loads((Path(__file__).parent / "jobset.schema.json").read_text())
ARGUMENTS = ["--name", "run", "--image", "host/image:1", "--config", "job.py"]
ARGUMENTS += ["--workdir", "gs://my-bucket/runs/1b/", "--topology"]


def schema_errors(manifest):
    return [
        error.message for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(manifest)
    ]


@pytest.fixture
def manifest(machine):
    def make(topology, *more):
        done = machine.run("gke.sh", "--dry-run", *ARGUMENTS, topology, *more)
        assert done.returncode == 0, done.stderr
        parsed = yaml.safe_load(done.stdout)
        assert schema_errors(parsed) == []
        return parsed

    return make


def job_of(manifest):
    return manifest["spec"]["replicatedJobs"][0]["template"]["spec"]


def pod_of(manifest):
    return job_of(manifest)["template"]["spec"]


@pytest.mark.parametrize(
    "topology, accelerator, hosts, chips",
    [
        ("v4:2x2x4", "tpu-v4-podslice", 4, 4),
        ("v5p:2x2x1", "tpu-v5p-slice", 1, 4),
        ("v5p:2x2x4", "tpu-v5p-slice", 4, 4),
        ("v5p:8x8x8", "tpu-v5p-slice", 128, 4),
        ("v5p:4x4x12", "tpu-v5p-slice", 48, 4),
        ("v5e:1x1", "tpu-v5-lite-podslice", 1, 1),
        ("v5e:4x8", "tpu-v5-lite-podslice", 8, 4),
        ("v6e:2x2", "tpu-v6e-slice", 1, 4),
        ("v6e:2x4", "tpu-v6e-slice", 1, 8),
        ("v6e:16x16", "tpu-v6e-slice", 64, 4),
        ("tpu7x:2x2x2", "tpu7x", 2, 4),
    ],
)
def test_the_slice(manifest, topology, accelerator, hosts, chips):
    made = manifest(topology)
    job, pod = job_of(made), pod_of(made)
    assert job["parallelism"] == job["completions"] == hosts
    assert job["completionMode"] == "Indexed"
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": accelerator,
        "cloud.google.com/gke-tpu-topology": topology.split(":")[1],
    }
    resources = pod["containers"][0]["resources"]
    assert resources["limits"] == resources["requests"] == {"google.com/tpu": chips}


def test_the_command(manifest):
    odd = ['data.name=a "b" \\c: #d', "mesh.axes=('x',)"]
    container = pod_of(manifest("v5p:2x2x4", *odd, "--", "--profile", "5:8"))["containers"][0]
    assert container["image"] == "host/image:1"
    assert container["args"] == [
        *["smem", "train", "--distributed", "--config", "job.py", "--workdir", "/bucket/runs/1b"],
        *odd,
        "--profile",
        "5:8",
    ]


def test_the_bucket_is_mounted_where_the_work_directory_is(manifest):
    made = manifest("v5p:2x2x4")
    pod = pod_of(made)
    [volume] = pod["volumes"]
    assert volume["csi"]["driver"] == "gcsfuse.csi.storage.gke.io"
    attributes = volume["csi"]["volumeAttributes"]
    assert attributes["bucketName"] == "my-bucket"
    # What one host wrote, the others have to see at once.
    options = attributes["mountOptions"].split(",")
    assert {"metadata-cache:ttl-secs:0", "metadata-cache:negative-ttl-secs:0"} <= set(options)
    assert pod["containers"][0]["volumeMounts"] == [
        {"name": volume["name"], "mountPath": "/bucket"}
    ]
    assert job_of(made)["template"]["metadata"]["annotations"] == {"gke-gcsfuse/volumes": "true"}


def test_restarts(manifest):
    made = manifest("v6e:4x4", "--max-restarts", "7")
    policy = made["spec"]["failurePolicy"]
    assert policy["maxRestarts"] == 7
    # Bad input fails the Job by its pod policy, and that fails the set; all else restarts it.
    [rule] = policy["rules"]
    assert (rule["action"], rule["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])
    [pod_rule] = job_of(made)["podFailurePolicy"]["rules"]
    assert pod_rule["onExitCodes"]["values"] == [2]
    assert pod_rule["onExitCodes"]["containerName"] == pod_of(made)["containers"][0]["name"]
    assert job_of(made)["backoffLimit"] == 0
    assert pod_of(made)["terminationGracePeriodSeconds"] == 300


@pytest.mark.parametrize("attempt, seconds", [("0", "00"), ("3", "30"), ("6", "60"), ("41", "60")])
def test_a_later_attempt_waits_before_it_starts(machine, manifest, attempt, seconds):
    container = pod_of(manifest("v6e:4x4"))["containers"][0]
    assert container["env"][0]["name"] == "ATTEMPT"
    (machine.bin / "sleep").unlink()
    machine.fake("sleep")
    machine.fake("smem", "exit 143")
    process = machine.start([*container["command"], *container["args"]], ATTEMPT=attempt)
    process.communicate(timeout=20)
    assert process.returncode == 143
    assert machine.calls("sleep") == [[seconds]]
    assert machine.calls("smem") == [container["args"][1:]]


def test_locked_memory_is_raised_where_the_driver_needs_it(manifest):
    old = pod_of(manifest("v5p:2x2x4"))["containers"][0]
    new = pod_of(manifest("v6e:4x4"))["containers"][0]
    assert old["securityContext"]["capabilities"]["add"] == ["SYS_RESOURCE"]
    assert "ulimit -l" in old["command"][2]
    assert "securityContext" not in new and "ulimit" not in new["command"][2]


def test_spot(manifest):
    selector = pod_of(manifest("v5p:2x2x4", "--spot"))["nodeSelector"]
    assert selector["cloud.google.com/gke-spot"] == "true"


def test_kubectl_gets_the_manifest(machine):
    machine.fake("kubectl", "cat >applied.yaml")
    done = machine.run("gke.sh", *ARGUMENTS, "v5p:2x2x4")
    assert done.returncode == 0, done.stderr
    assert machine.calls("kubectl") == [["create", "-f", "-"]]
    dry = machine.run("gke.sh", *ARGUMENTS, "v5p:2x2x4", "--dry-run")
    assert (machine.folder / "applied.yaml").read_text() == dry.stdout


def test_what_kubectl_says_is_what_the_script_says(machine):
    machine.fake("kubectl", "echo AlreadyExists >&2; exit 1")
    done = machine.run("gke.sh", *ARGUMENTS, "v5p:2x2x4")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "AlreadyExists\n")


def _set(manifest, path, value):
    *parents, last = path
    for key in parents:
        manifest = manifest[key]
    manifest[last] = value


JOB = ["spec", "replicatedJobs", 0, "template", "spec"]
POD = [*JOB, "template", "spec"]


@pytest.mark.parametrize(
    "path, value",
    [
        (["apiVersion"], "jobset.x-k8s.io/v1alpha1"),
        (["metadata", "name"], "Run_1"),
        (["spec", "failurePolicy", "maxRestart"], 3),
        (["spec", "failurePolicy", "maxRestarts"], "3"),
        (["spec", "failurePolicy", "rules", 0, "action"], "Fail"),
        ([*JOB, "parallelism"], "4"),
        ([*JOB, "completionMode"], "indexed"),
        ([*JOB, "podFailurePolicy", "rules", 0, "action"], "FailJobSet"),
        ([*POD, "nodeselector"], {}),
        ([*POD, "nodeSelector", "cloud.google.com/gke-spot"], True),
        ([*POD, "restartPolicy"], "OnFailure"),
        ([*POD, "containers", 0, "args"], ["smem", 4]),
        ([*POD, "containers", 0, "resources", "limit"], {}),
        ([*POD, "volumes", 0, "csi", "volumeAttributes", "bucketName"], 5),
    ],
)
def test_the_schema_refuses_what_the_api_refuses(manifest, path, value):
    broken = copy.deepcopy(manifest("v5p:2x2x4"))
    _set(broken, path, value)
    assert len(schema_errors(broken)) == 1
