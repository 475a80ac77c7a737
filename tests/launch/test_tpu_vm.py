"""launch/tpu_vm.sh: the order of its gcloud commands, through preemptions and crashes."""

import shlex

import pytest

ARGUMENTS = ["--name", "run", "--zone", "us-east5-a", "--project", "mine"]
ARGUMENTS += ["--image", "us-docker.pkg.dev/mine/r/smem:1", "--config", "job.py"]
ARGUMENTS += ["--workdir", "gs://my-bucket/runs/1b", "--topology", "v5p:2x2x4"]
# A queued resource that is active at once. The file `ends` says, a line a run, with which exit
# status the hosts end and in which state that leaves the resource.
GCLOUD = """
case $4 in
  create) echo ACTIVE >state ;;
  describe)
    if [ -s broken ]; then
      { read -r; rest=$(cat); } <broken
      printf '%s' "$rest" >broken
      echo "ERROR: no network" >&2
      exit 1
    fi
    if [ -f state ]; then cat state; else
      echo "ERROR: (gcloud.compute.tpus.queued-resources.describe) NOT_FOUND: Resource 'run'" >&2
      exit 1
    fi
    ;;
  delete) rm state ;;
  ssh)
    { read -r status state; rest=$(cat); } <ends
    printf '%s\\n' "$rest" >ends
    echo "$state" >state
    exit "$status"
    ;;
esac
"""


@pytest.fixture
def run(machine):
    def go(*ends, arguments=()):
        machine.fake("gcloud", GCLOUD)
        (machine.folder / "ends").write_text("".join(f"{end}\n" for end in ends))
        done = machine.run("tpu_vm.sh", *ARGUMENTS, *arguments, POLL_SECONDS="0")
        calls = machine.calls("gcloud")
        verbs = [call[3] for call in calls if call[3] != "describe"]
        return done, verbs, calls

    return go


def test_a_run_that_ends(run):
    done, verbs, calls = run("0 ACTIVE", arguments=["--spot"])
    assert done.returncode == 0, done.stderr
    assert verbs == ["create", "ssh", "delete"]
    create = next(call for call in calls if call[3] == "create")
    assert create == [
        *["compute", "tpus", "queued-resources", "create", "run"],
        *["--zone=us-east5-a", "--project=mine", "--node-id=run"],
        *["--accelerator-type=v5p-32", "--runtime-version=v2-alpha-tpuv5", "--spot"],
    ]
    ssh = next(call for call in calls if call[3] == "ssh")
    assert ssh[:5] == ["compute", "tpus", "tpu-vm", "ssh", "run"]
    assert "--worker=all" in ssh
    assert calls[-1][3:5] == ["delete", "run"] and "--force" in calls[-1]


def test_a_preempted_slice_is_asked_for_again(run):
    done, verbs, _ = run("143 SUSPENDED", "255 SUSPENDING", "0 ACTIVE")
    assert done.returncode == 0, done.stderr
    assert verbs == ["create", "ssh", "delete"] * 3


def test_a_crash_keeps_the_slice(run):
    done, verbs, _ = run("1 ACTIVE", "0 ACTIVE")
    assert done.returncode == 0, done.stderr
    assert verbs == ["create", "ssh", "ssh", "delete"]


@pytest.mark.parametrize("failures", [1, 3, 8])
def test_a_slice_of_which_gcloud_cannot_tell_is_not_given_away(machine, run, failures):
    # Each look that fails is two calls. The first of them finds the slice of an earlier start.
    (machine.folder / "state").write_text("ACTIVE\n")
    (machine.folder / "broken").write_text("x\n" * failures)
    done, verbs, _ = run("1 ACTIVE", "0 ACTIVE")
    assert done.returncode == 0, done.stderr
    assert verbs == ["ssh", "ssh", "delete"]
    assert done.stderr.count("does not tell the state of run: ERROR: no network") == failures // 2


def test_a_network_that_is_gone_ends_the_script_and_leaves_the_slice(machine, run):
    (machine.folder / "state").write_text("ACTIVE\n")
    (machine.folder / "broken").write_text("x\n" * 100)
    done, verbs, _ = run()
    assert done.returncode == 1 and verbs == []
    assert done.stderr.splitlines()[-1].endswith("and nothing was given back")


def test_bad_input_is_not_tried_again(run):
    done, verbs, _ = run("2 ACTIVE", "0 ACTIVE")
    assert done.returncode == 2
    assert verbs == ["create", "ssh", "delete"]


def test_restarts_have_a_limit(run):
    done, verbs, _ = run(*["1 ACTIVE"] * 5, arguments=["--max-restarts", "2"])
    assert done.returncode == 1
    assert verbs == ["create", "ssh", "ssh", "ssh", "delete"]


def test_a_slice_that_is_there_is_used_and_may_be_kept(machine, run):
    (machine.folder / "state").write_text("ACTIVE\n")
    done, verbs, _ = run("0 ACTIVE", arguments=["--keep"])
    assert done.returncode == 0, done.stderr
    assert verbs == ["ssh"]
    assert "costs money" in done.stdout


def test_a_request_that_is_refused_ends_the_script(machine):
    body = 'case $4 in create) echo "no quota" >&2 ;; *) echo NOT_FOUND >&2 ;; esac; exit 1'
    machine.fake("gcloud", body)
    done = machine.run("tpu_vm.sh", *ARGUMENTS, POLL_SECONDS="0")
    assert done.returncode == 1
    assert done.stderr == "no quota\n"


@pytest.mark.parametrize(
    "topology, accelerator, version",
    [
        ("v4:2x2x2", "v4-16", "tpu-ubuntu2204-base"),
        ("v5p:8x8x8", "v5p-1024", "v2-alpha-tpuv5"),
        ("v5e:4x4", "v5litepod-16", "v2-alpha-tpuv5-lite"),
        ("v6e:16x16", "v6e-256", "v2-alpha-tpuv6e"),
    ],
)
def test_the_request(machine, topology, accelerator, version):
    done = machine.run("tpu_vm.sh", *ARGUMENTS, "--topology", topology, "--reserved", "--dry-run")
    create = shlex.split(done.stdout.splitlines()[1])
    assert f"--accelerator-type={accelerator}" in create
    assert f"--runtime-version={version}" in create
    assert "--reserved" in create and "--spot" not in create


HOST = """
case $1 in
  docker)
    case $2 in
      inspect) [ -f running ] && echo true ;;
      run) shift; while [ "$1" != us-docker.pkg.dev/mine/r/smem:1 ]; do shift; done
           printf '%s\\n' "$@" >container; : >running ;;
      wait) echo 143 ;;
    esac ;;
esac
"""


def test_what_a_host_does(machine):
    odd = 'data.name=it\'s "odd" (1)'
    done = machine.run("tpu_vm.sh", *ARGUMENTS, odd, "--dry-run")
    # The printed commands are ones that a shell understands.
    words = shlex.split(done.stdout, comments=True)
    [command] = [word for word in words if word.startswith("--command=")]
    for tool in ("mountpoint", "gcsfuse", "lsb_release"):
        machine.fake(tool, "exit 1" if tool == "mountpoint" else "")
    machine.fake("sudo", HOST)
    for times in (1, 2):
        host = machine.start(["sh", "-c", command.removeprefix("--command=")])
        host.communicate(timeout=20)
        assert host.returncode == 143
        # The second time the container runs already, and is only followed.
        assert [call[:2] for call in machine.calls("sudo")].count(["docker", "run"]) == 1, times
    assert (machine.folder / "container").read_text().splitlines()[1:] == [
        *["smem", "train", "--distributed", "--config", "job.py", "--workdir", "/bucket/runs/1b"],
        odd,
    ]
    calls = machine.calls("sudo")
    mount = next(call for call in calls if call[0] == "gcsfuse")
    assert mount[-2:] == ["my-bucket", "/bucket"]
    # What one host wrote, the others have to see at once.
    assert {"--metadata-cache-ttl-secs=0", "--metadata-cache-negative-ttl-secs=0"} <= set(mount)
    assert ["gcloud", "--quiet", "auth", "configure-docker", "us-docker.pkg.dev"] in calls
    assert ["docker", "logs", "--follow", "--tail=100", "smem"] in calls
