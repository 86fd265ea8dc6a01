"""The options of a run on Kubernetes, and its JobSet printed or handed to kubectl."""

import argparse
import json
import math
import subprocess
from collections.abc import Sequence

from launch.arguments import count, dns_label, inner_path, one_line, quantity, setting, topology, word
from launch.jobset import Pods, manifest
from launch.slurm import require_program
from seqjax.errors import UsageError


def add_pods(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    default = Pods("", "")
    add("--image", type=word, required=True, help="holds this checkout and its dependencies")
    add("--claim", type=dns_label, required=True, help="persistent volume claim for runs; several pods: ReadWriteMany")
    add("--mount", type=inner_path, default=default.mount, help="where the claim is mounted")
    add("--workdir", type=inner_path, default=default.workdir, help="where the checkout lies in the image")
    add("--python", type=str, default=default.python, help="the interpreter in the image")
    add("--namespace", type=dns_label)
    add("--job-name", type=dns_label)
    add("--service-account", type=dns_label)
    add("--processes", type=count, help="pods, each with its own devices; of a TPU slice: its hosts, by themselves")
    add("--cpu", type=quantity)
    add("--memory", type=quantity)
    add("--gpus", type=count, help="of each pod")
    add("--gpu-type", type=word, help="cloud.google.com/gke-accelerator")
    add("--tpus", type=count, help="chips of each pod")
    add("--tpu-type", type=word, help="cloud.google.com/gke-tpu-accelerator")
    add("--tpu-topology", type=topology, help="cloud.google.com/gke-tpu-topology, such as 2x4")
    add("--spot", action="store_true", help="on nodes that may be taken away")
    add("--save-before", type=count, default=default.save_before, help="seconds to save in before a pod is ended")
    add("--env", type=setting, action="append", default=[], dest="environment", help="KEY=VALUE; may be repeated")


def pods(options: argparse.Namespace) -> Pods:
    """What the options ask for. Raises UsageError when they do not fit together."""
    found = Pods(**{name: getattr(options, name) for name in Pods._fields})
    one_line("--python", found.python)
    asked = [found.tpus, found.tpu_type, found.tpu_topology]
    if any(asked) and not all(asked):
        raise UsageError("--tpus, --tpu-type and --tpu-topology: a TPU slice needs all three.")
    if found.gpu_type and not found.gpus:
        raise UsageError(f"--gpu-type {found.gpu_type}: needs --gpus.")
    if not found.tpus:
        return found._replace(processes=options.processes or 1)
    if found.gpus:
        raise UsageError("--gpus and --tpus: a pod has one or the other.")
    chips = math.prod(map(int, found.tpu_topology.split("x")))
    hosts, rest = divmod(chips, found.tpus)
    if rest or options.processes not in (None, hosts):
        wanted = f"--tpus that divide {chips}" if rest else f"--processes {hosts}, or none"
        raise UsageError(f"--tpu-topology {found.tpu_topology}: {chips} chips, {found.tpus} a pod; expected {wanted}.")
    return found._replace(processes=hosts)


def launch(name: str, flags: Sequence[str], asked: Pods, *, dry_run: bool) -> int:
    """Prints the manifest, which is JSON and so YAML, or hands it to kubectl, whose exit code it returns."""
    found = manifest(name, flags, asked)
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    if dry_run:
        print(text, end="")
        return 0
    require_program("kubectl", "kubernetes")
    code = subprocess.run(["kubectl", "apply", "--filename=-"], input=text.encode()).returncode
    if code == 0:
        kubectl = "kubectl" + (f" --namespace={asked.namespace}" if asked.namespace else "")
        job_name = found["metadata"]["name"]
        print(f"watch   {kubectl} get jobset {job_name}")
        print(f"follow  {kubectl} logs --follow --selector=jobset.sigs.k8s.io/jobset-name={job_name}")
        print(f"stop    {kubectl} delete jobset {job_name}   (it saves first; the same command goes on)")
    return code
