import itertools
import json
from pathlib import Path

import jsonschema
import pytest
import standins
from standins import AS_FLAGS, AWKWARD

from launch.__main__ import main

# names, types, words and required names of the JobSet API v1alpha2 as its project publishes them (0.13), as deep as
# manifests go; names that the schema does not have are errors
SCHEMA = json.loads((Path(__file__).parent / "jobset_schema.json").read_text())
BASE = ["kubernetes", "autoencoder", "--image", "registry.example/seqjax:1", "--claim", "runs"]
GPUS = ["--gpus", "8", "--gpu-type", "nvidia-h100-80gb", "--processes", "2", "--spot"]
SLICE = ["--tpus", "4", "--tpu-type", "tpu-v5-lite-podslice", "--tpu-topology", "4x4"]
MORE = ["--cpu", "4", "--memory", "16Gi", "--namespace", "lab", "--service-account", "runner", "--env", "A=b"]


def manifest(capsys, *options: str, flags: tuple[str, ...] = ()) -> dict:
    assert main([*BASE, *options, "--dry-run", "--", *flags]) == 0
    return json.loads(capsys.readouterr().out)


def job(found: dict) -> dict:
    return found["spec"]["replicatedJobs"][0]["template"]["spec"]


def pod(found: dict) -> dict:
    return job(found)["template"]["spec"]


def container(found: dict) -> dict:
    return pod(found)["containers"][0]


@pytest.mark.parametrize("options", [[], GPUS, SLICE, MORE, GPUS + MORE, ["--job-name", "mine", "--mount", "/data"]])
def test_manifests_are_what_the_published_schema_takes(options, capsys):
    jsonschema.validate(manifest(capsys, *options), SCHEMA)


@pytest.mark.parametrize(
    "path", [("spec",), ("spec", "failurePolicy"), ("spec", "replicatedJobs", 0, "template", "spec")]
)
def test_the_schema_refuses_a_name_that_it_does_not_have(path, capsys):
    found = manifest(capsys, *GPUS)
    inner = found
    for part in path:
        inner = inner[part]
    inner["replicass"] = 1
    with pytest.raises(jsonschema.ValidationError, match="replicass"):
        jsonschema.validate(found, SCHEMA)


def test_each_pod_is_told_its_place_and_where_the_first_one_is(capsys):
    from seqjax.parallel.processes import place_in

    found = manifest(capsys, *GPUS)
    name = found["metadata"]["name"]
    assert (job(found)["completions"], job(found)["parallelism"], job(found)["completionMode"]) == (2, 2, "Indexed")
    index = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    environment = {}
    for variable in container(found)["env"]:
        field = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        environment[variable["name"]] = {index: "1", None: variable.get("value")}[field]
    place = place_in(environment)
    # JobSet names a pod JOBSET-JOB-REPLICA-INDEX, below the subdomain
    port = container(found)["ports"][0]["containerPort"]
    assert (place.index, place.count, place.coordinator) == (1, 2, f"{name}-run-0-0.{name}:{port}")
    assert found["spec"]["network"]["subdomain"] == name
    of_the_pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "0"}
    assert place_in(of_the_pod | {v["name"]: v["value"] for v in container(manifest(capsys))["env"]}) is None


def test_pods_ask_for_devices_and_tolerate_the_taints_of_their_nodes(capsys):
    found = pod(manifest(capsys, *GPUS))
    assert found["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "8"}
    assert found["nodeSelector"]["cloud.google.com/gke-accelerator"] == "nvidia-h100-80gb"
    assert {t["key"] for t in found["tolerations"]} == {"nvidia.com/gpu", "cloud.google.com/gke-spot"}
    assert {m["mountPath"] for m in found["containers"][0]["volumeMounts"]} == {"/runs", "/dev/shm"}
    sliced = manifest(capsys, *SLICE)
    # 16 chips, 4 of each host
    assert job(sliced)["completions"] == 4
    assert container(sliced)["resources"]["requests"] == {"google.com/tpu": "4"}
    assert {t["key"] for t in pod(sliced)["tolerations"]} == {"google.com/tpu"}
    assert pod(sliced)["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == "4x4"


def test_a_run_that_has_saved_starts_again_and_one_that_failed_does_not(capsys):
    found = manifest(capsys)
    codes = job(found)["podFailurePolicy"]["rules"][0]["onExitCodes"]
    assert (codes["operator"], codes["values"]) == ("In", [75])
    restart, fail = found["spec"]["failurePolicy"]["rules"]
    assert restart["onJobFailureReasons"] == ["PodFailurePolicy"]
    assert (restart["action"], fail["action"]) == ("RestartJobSetAndIgnoreMaxRestarts", "FailJobSet")
    assert pod(found)["restartPolicy"] == "Never"
    assert pod(manifest(capsys, "--save-before", "300"))["terminationGracePeriodSeconds"] == 300


def expanded(text: str) -> str:
    """What Kubernetes makes of a text without variables: each pair of dollars is one."""
    return "".join("$" if len(pair) == 2 and pair == "$$" else pair for pair in _pairs(text))


def _pairs(text: str):
    at = 0
    while at < len(text):
        step = 2 if text[at : at + 2] == "$$" else 1
        yield text[at : at + step]
        at += step


def test_values_arrive_as_they_are(capsys):
    settings = itertools.chain.from_iterable(("--env", f"KEY{i}={value}") for i, value in enumerate(AWKWARD))
    found = manifest(capsys, *settings, flags=tuple(AS_FLAGS))
    assert [expanded(part) for part in container(found)["command"]] == [
        "python3", "-m", "experiments.autoencoder", *AS_FLAGS, container(found)["command"][-1],
    ]  # fmt: skip
    assert [expanded(v["value"]) for v in container(found)["env"] if v["name"].startswith("KEY")] == AWKWARD


def test_the_same_command_has_the_same_name_and_run_directory(capsys):
    one, again, other = (manifest(capsys, flags=("--seed", seed)) for seed in ("1", "1", "2"))
    assert one == again
    assert one["metadata"]["name"] != other["metadata"]["name"]
    assert container(one)["command"][-1] != container(other)["command"][-1]
    named = manifest(capsys, flags=("--run-dir", "/runs/mine"))
    assert container(named)["command"][-2:] == ["--run-dir", "/runs/mine"]


def test_other_pods_are_another_jobset_that_goes_on_with_the_same_run(capsys):
    asked = [[], ["--image", "other:2"], ["--env", "A=1"], ["--env", "A=2"], ["--gpus", "2"], ["--claim", "b"]]
    found = [manifest(capsys, *more, flags=("--seed", "1")) for more in asked]
    assert len({one["metadata"]["name"] for one in found}) == len(asked)
    assert len({container(one)["command"][-1] for one in found}) == 1
    assert manifest(capsys, flags=("--seed=1",))["metadata"]["name"] == found[0]["metadata"]["name"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--tpus", "4"], "a TPU slice needs all three"),
        (["--gpu-type", "x"], "needs --gpus"),
        ([*SLICE, "--gpus", "1"], "one or the other"),
        ([*SLICE, "--processes", "3"], "--processes 4"),
        (["--tpus", "3", *SLICE[2:]], "divide 16"),
        (["--", "--run-dir", "/tmp/x"], "below /runs"),
        (["--", "--run-dir=/runs/../x"], "below /runs"),
        (["--", "--dataset", "\udcff"], "is no UTF-8"),
        (["--", "--nosuch"], "no such flag"),
        (["--", "--driver", "nosuch"], "found 'nosuch'"),
    ],
)
def test_what_does_not_fit_together_is_refused_by_name(args, said, capsys):
    assert main([*BASE, *args]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "args",
    [
        ["--image", "a b"], ["--claim", "Runs"], ["--mount", "runs"], ["--mount", "/a b"], ["--memory", "4 G"],
        ["--gpus", "0"], ["--tpu-topology", "4"], ["--namespace", "a;b"], ["--env", "a b=c"], ["--job-name", "a\nb"],
    ],
)  # fmt: skip
def test_options_that_no_cluster_takes_are_refused_by_name(args, capsys):
    with pytest.raises(SystemExit) as end:
        main([*BASE, *args])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert args[0] in error
    assert error.count("\n") <= 2


def test_the_manifest_is_handed_to_kubectl(capfd, tmp_path, monkeypatch):
    kubectl = standins.program(tmp_path / "bin", "kubectl")
    monkeypatch.setenv("PATH", standins.path_with(kubectl.parent))
    assert main([*BASE, "--namespace", "lab", "--", *AS_FLAGS]) == 0
    (called,) = standins.calls(kubectl)
    assert called["args"] == ["apply", "--filename=-"]
    assert json.loads(called["stdin"]) == manifest_of(capfd)
    standins.answers(kubectl, 1, "no cluster")
    assert main(BASE) == 1


def manifest_of(capfd) -> dict:
    said = capfd.readouterr().out
    assert "kubectl --namespace=lab logs --follow" in said
    assert main([*BASE, "--namespace", "lab", "--dry-run", "--", *AS_FLAGS]) == 0
    return json.loads(capfd.readouterr().out)


def test_without_kubectl_it_is_said(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", standins.bare_path(tmp_path / "bare"))
    assert main(BASE) == 2
    assert "there is no kubectl" in capsys.readouterr().err
