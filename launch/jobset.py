"""A run as an indexed JobSet, jobset.x-k8s.io/v1alpha2: one pod a process, started again after a save."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from launch.arguments import as_text
from launch.fields import fields_of
from launch.flags import run_dir_of, values_of
from seqjax.errors import UsageError

JOB, CONTAINER, PORT = "run", "run", 55527
INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"


class Pods(NamedTuple):
    """What each process is given. claim: the persistent volume claim that run directories live on."""

    image: str
    claim: str
    mount: str = "/runs"
    workdir: str = "/seqjax"
    python: str = "python3"
    namespace: str | None = None
    job_name: str | None = None
    service_account: str | None = None
    processes: int = 1
    cpu: str | None = None
    memory: str | None = None
    gpus: int | None = None
    gpu_type: str | None = None
    tpus: int | None = None
    tpu_type: str | None = None
    tpu_topology: str | None = None
    spot: bool = False
    save_before: int = 120
    environment: Sequence[tuple[str, str]] = ()


def manifest(name: str, flags: Sequence[str], asked: Pods) -> dict[str, Any]:
    """The JobSet of a run. The same command gives the same name and run directory, so it is found again.

    Another image, environment or number of pods is another JobSet, which goes on with the same run.
    Raises UsageError for what JSON cannot carry, and for a run directory that a pod would take with it.
    """
    run = [name, values_of(fields_of(name), flags)]
    # room for what JobSet appends: a pod's host name has at most 63 characters
    job_name = asked.job_name or f"{name.replace('_', '-')[:31]}-{_digest([*run, asked._asdict()])}"
    run_dir = f"{asked.mount}/{name}-{_digest(run)}"
    command = [asked.python, "-m", f"experiments.{name}", *_with_run_dir(flags, run_dir)]
    job = {
        "completionMode": "Indexed",
        "completions": asked.processes,
        "parallelism": asked.processes,
        "backoffLimit": 0,
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [75]}},
                {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]
        },
        "template": {"spec": _pod(job_name, command, asked)},
    }
    # the pod failure policy matches a run that has saved, and a node that is taken away: no number of these is too many
    saved = {
        "name": "saved",
        "action": "RestartJobSetAndIgnoreMaxRestarts",
        "onJobFailureReasons": ["PodFailurePolicy"],
    }
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": job_name, **({"namespace": asked.namespace} if asked.namespace else {})},
        "spec": {
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True, "subdomain": job_name},
            "failurePolicy": {"maxRestarts": 0, "rules": [saved, {"name": "failed", "action": "FailJobSet"}]},
            "replicatedJobs": [{"name": JOB, "replicas": 1, "template": {"spec": job}}],
        },
    }


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def _with_run_dir(flags: Sequence[str], run_dir: str) -> list[str]:
    """The flags, with a run directory on the volume when they name none. Raises UsageError for one elsewhere."""
    mount = str(PurePosixPath(run_dir).parent)
    named = run_dir_of(flags)
    if named is None:
        return [*flags, f"--run-dir={run_dir}"]
    # a pod's own disk is gone when the pod is: what was saved there would be lost
    if not os.path.normpath(named).startswith(f"{mount}/"):
        raise UsageError(f"--run-dir {named!r}: expected a folder below {mount}, which outlives the pods.")
    return list(flags)


def _pod(job_name: str, command: Sequence[str], asked: Pods) -> dict[str, Any]:
    volumes = [{"name": "runs", "persistentVolumeClaim": {"claimName": asked.claim}}]
    mounts = [{"name": "runs", "mountPath": asked.mount}]
    if asked.gpus:
        # GPUs of one pod talk through shared memory, of which a container has 64 MiB otherwise
        volumes.append({"name": "shared-memory", "emptyDir": {"medium": "Memory"}})
        mounts.append({"name": "shared-memory", "mountPath": "/dev/shm"})
    container = {
        "name": CONTAINER,
        "image": asked.image,
        "workingDir": asked.workdir,
        "command": [_unexpanded("argument", part) for part in command],
        "env": _environment(job_name, asked),
        "ports": [{"containerPort": PORT}],
        "resources": _requests(asked),
        "volumeMounts": mounts,
    }
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": asked.save_before,
        **({"serviceAccountName": asked.service_account} if asked.service_account else {}),
        **_placement(asked),
        "containers": [container],
        "volumes": volumes,
    }


def _unexpanded(name: str, text: str) -> str:
    """The text such that Kubernetes, which would put a variable for $(NAME), gives it back as it was."""
    return as_text(name, text).replace("$", "$$")


def _environment(job_name: str, asked: Pods) -> list[dict[str, Any]]:
    own = [{"name": key, "value": _unexpanded("--env", value)} for key, value in asked.environment]
    if asked.processes == 1:
        # a pod of an indexed job that does not say so might be one of several
        return [{"name": "JAX_NUM_PROCESSES", "value": "1"}, *own]
    return [
        # the name that the headless service gives to the pod of index 0
        {"name": "JAX_COORDINATOR_ADDRESS", "value": f"{job_name}-{JOB}-0-0.{job_name}:{PORT}"},
        {"name": "JAX_NUM_PROCESSES", "value": str(asked.processes)},
        {"name": "JAX_PROCESS_ID", "valueFrom": {"fieldRef": {"fieldPath": INDEX}}},
        *own,
    ]


def _requests(asked: Pods) -> dict[str, Any]:
    wanted = {
        "cpu": asked.cpu,
        "memory": asked.memory,
        "nvidia.com/gpu": asked.gpus and str(asked.gpus),
        "google.com/tpu": asked.tpus and str(asked.tpus),
    }
    found = {name: value for name, value in wanted.items() if value}
    return {"requests": found, "limits": found} if found else {}


def _placement(asked: Pods) -> dict[str, Any]:
    """Which nodes may be taken: devices keep others off their nodes by taints, which these pods tolerate."""
    selected = {
        "cloud.google.com/gke-accelerator": asked.gpu_type,
        "cloud.google.com/gke-tpu-accelerator": asked.tpu_type,
        "cloud.google.com/gke-tpu-topology": asked.tpu_topology,
        "cloud.google.com/gke-spot": "true" if asked.spot else None,
    }
    selector = {name: value for name, value in selected.items() if value}
    tainted = {"nvidia.com/gpu": asked.gpus, "google.com/tpu": asked.tpus, "cloud.google.com/gke-spot": asked.spot}
    tolerations = [
        {"key": key, "operator": "Exists", "effect": "NoSchedule"} for key, wanted in tainted.items() if wanted
    ]
    return ({"nodeSelector": selector} if selector else {}) | ({"tolerations": tolerations} if tolerations else {})
