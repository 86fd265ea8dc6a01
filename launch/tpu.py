"""A run on all workers of a Cloud TPU VM: make it if asked, copy the code there, start the same command on each."""

import argparse
import shlex
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from launch.arguments import as_text, dns_label, one_line, setting, word
from launch.slurm import absolute, require_program
from launch.snapshot import ROOT, code_files, digest, snapshot
from seqjax.errors import UsageError


class Machine(NamedTuple):
    """The TPU VM and how the run finds its interpreter there. create: make the VM first."""

    tpu: str
    zone: str
    project: str | None = None
    create: bool = False
    tpu_type: str | None = None
    runtime: str | None = None
    spot: bool = False
    install: bool = False
    python: str = "python3"
    environment: Sequence[tuple[str, str]] = ()


def add_machine(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--tpu", type=dns_label, required=True, help="the TPU VM's name")
    add("--zone", type=word, required=True)
    add("--project", type=word)
    add("--create", action="store_true", help="make it first, of --type and --runtime")
    add("--type", type=word, dest="tpu_type", help="accelerator type, such as v5litepod-8")
    add("--runtime", type=word, help="its software, such as v2-alpha-tpuv5-lite")
    add("--spot", action="store_true", help="make one that may be taken away")
    add("--install", action="store_true", help="install the dependencies there first, with pip")
    add("--python", type=str, default=Machine("", "").python, help="the interpreter there")
    add("--env", type=setting, action="append", default=[], dest="environment", help="KEY=VALUE; may be repeated")


def machine(options: argparse.Namespace) -> Machine:
    """What the options ask for. Raises UsageError when they do not fit together."""
    found = Machine(**{name: getattr(options, name) for name in Machine._fields})
    if found.create and not (found.tpu_type and found.runtime):
        raise UsageError("--create: needs --type and --runtime; gcloud compute tpus accelerator-types list has them.")
    if not found.create and (found.tpu_type or found.runtime or found.spot):
        raise UsageError("--type, --runtime and --spot: belong to --create.")
    one_line("--python", found.python)
    return found


def remote_command(name: str, flags: Sequence[str], asked: Machine, code: str) -> str:
    """What the shell of each worker runs in its home folder: unpacks the code, and becomes the experiment."""
    folder = f"seqjax-{code}"
    settings = [f"{key}={shlex.quote(as_text('--env', value))}" for key, value in asked.environment]
    command = [asked.python, "-m", f"experiments.{name}", *(as_text("flag", flag) for flag in flags)]
    install = shlex.join([asked.python, "-m", "pip", "install", "-q", "-c", f"{folder}/constraints.txt"])
    parts = [
        f"mkdir -p {folder}",
        f"tar -xzf {folder}.tar.gz -C {folder}",
        *([f"{install} -e './{folder}[tpu]'"] if asked.install else []),
        # the copy, and never what else lies in the home folder, where `runs` is
        " ".join(["export PYTHONSAFEPATH=1", f'PYTHONPATH="$PWD/{folder}"', *settings]),
        f"exec {shlex.join(command)}",
    ]
    return " && ".join(parts)


def commands(name: str, flags: Sequence[str], asked: Machine, archive: Path, code: str) -> list[list[str]]:
    """The calls of gcloud, in order."""
    tool = ["gcloud", "compute", "tpus", "tpu-vm"]
    # --quiet: no question whose answer nobody is there to give
    where = ["--quiet", f"--zone={asked.zone}", *([f"--project={asked.project}"] if asked.project else [])]
    make = [*tool, "create", asked.tpu, *where, f"--accelerator-type={asked.tpu_type}", f"--version={asked.runtime}"]
    return [
        *([[*make, *(["--spot"] if asked.spot else [])]] if asked.create else []),
        [*tool, "scp", str(archive), f"{asked.tpu}:seqjax-{code}.tar.gz", *where, "--worker=all"],
        # on all workers at once: none of them could start without the others
        [*tool, "ssh", asked.tpu, *where, "--worker=all", f"--command={remote_command(name, flags, asked, code)}"],
    ]


def launch(name: str, flags: Sequence[str], asked: Machine, jobs: Path, *, dry_run: bool) -> int:
    """Runs gcloud, or prints how it would. The exit code is that of the first call that fails, or 0."""
    folder = absolute(jobs) / "snapshots"
    if dry_run:
        code = digest(code_files(ROOT))
        for command in commands(name, flags, asked, folder / f"{code}.tar.gz", code):
            print(shlex.join(command))
        return 0
    require_program("gcloud", "tpu")
    remote_command(name, flags, asked, "")  # what it refuses is refused before anything is made
    kept = snapshot(folder)
    with tempfile.TemporaryDirectory(prefix="seqjax-") as directory:
        archive = Path(directory) / f"{kept.name}.tar.gz"
        with tarfile.open(archive, "w:gz") as file:
            file.add(kept, arcname=".")
        for command in commands(name, flags, asked, archive, kept.name):
            code = subprocess.run(command, stdin=subprocess.DEVNULL).returncode
            if code:
                return code
    return 0
