"""A real Slurm of one machine, without systemd: its daemons run in a folder and are stopped by their own handles.

Where Debian has not installed it, it is installed for the tests and removed after them.
"""

import contextlib
import getpass
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "sinfo", "scontrol", "scancel")
PACKAGES = ("slurm-wlm", "munge")
# where Debian keeps daemons, which is not on every PATH
PATH = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])


def missing() -> list[str]:
    """The programs of Slurm that this machine does not have."""
    return [program for program in PROGRAMS if shutil.which(program, path=PATH) is None]


@contextlib.contextmanager
def installed() -> Iterator[str | None]:
    """Has Slurm's programs on this machine; yields why not where they are missing and may not be installed."""
    lacking = missing()
    if not lacking:
        yield None
    elif shutil.which("apt-get") is None or os.geteuid() != 0:
        yield f"no Slurm here (no {lacking[0]}), and only root on Debian may install {' and '.join(PACKAGES)}"
    else:
        before = _packages()
        try:
            # a fresh image has no lists of packages; without a network those that are there may do
            _apt_get("update")
            with _no_daemons_started():
                done = _apt_get("install", *PACKAGES)
            yield f"Slurm cannot be installed: {done.stderr.strip()[-300:]}" if done.returncode else None
        finally:
            added = sorted(_packages() - before)
            if added:
                _apt_get("purge", *added)


def _packages() -> set[str]:
    listed = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${db:Status-Abbrev} ${Package}\\n"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {line.split()[1] for line in listed.stdout.splitlines() if line.startswith("ii")}


def _apt_get(*args: str) -> subprocess.CompletedProcess[str]:
    command = ["apt-get", "--yes", "--no-install-recommends", *args]
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, env=quiet, capture_output=True, text=True, stdin=subprocess.DEVNULL)


@contextlib.contextmanager
def _no_daemons_started() -> Iterator[None]:
    """Debian's packages start their daemons when they are installed, unless this program says that they may not."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


def conf(folder: Path, ports: tuple[int, int]) -> str:
    """The configuration: listens on loopback, keeps all in the folder, and claims four processors.

    The node is named by its address, so that what the tasks of a job listen on is loopback too. What is submitted to
    `urgent` pre-empts what runs in `main`.
    """
    user, host = getpass.getuser(), socket.gethostname().split(".")[0]
    return f"""
ClusterName=seqjax
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=30
NodeName=127.0.0.1 NodeHostname={host} CPUs=4 State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=127.0.0.1 Default=YES MaxTime=60 GraceTime=60 PriorityTier=1 State=UP
PartitionName=urgent Nodes=127.0.0.1 MaxTime=60 PriorityTier=2 State=UP
"""


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which Slurm's programs find the cluster, while it is up. Raises TimeoutError with its logs."""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    (folder / "slurm.conf").write_text(conf(folder, _free_ports()))
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": PATH}
    munged = [
        "munged", "--foreground", "--force", f"--socket={folder}/munge.socket", f"--key-file={key}", "--num-threads=2",
        f"--log-file={folder}/munged.log", f"--pid-file={folder}/munged.pid", f"--seed-file={folder}/munged.seed",
    ]  # fmt: skip
    with contextlib.ExitStack() as daemons:
        daemons.enter_context(_running(munged, folder, environment))
        _wait(lambda: (folder / "munge.socket").exists(), folder)
        daemons.enter_context(_running(["slurmctld", "-D"], folder, environment))
        daemons.enter_context(_running(["slurmd", "-D"], folder, environment))
        _wait(lambda: "idle" in _said(["sinfo", "--noheader", "--format=%t"], environment), folder)
        try:
            yield environment
        finally:
            # its processes are no children of ours: Slurm ends them
            subprocess.run(["scancel", f"--user={getpass.getuser()}"], env=environment, check=False)
            with contextlib.suppress(TimeoutError):
                _wait(lambda: not _said(["squeue", "--noheader"], environment).strip(), folder)


@contextlib.contextmanager
def _running(command: list[str], folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    with (folder / f"{command[0]}.out").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment, process_group=0
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _said(command: list[str], environment: Mapping[str, str]) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout


def _wait(condition: Callable[[], bool], folder: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            logs = "\n".join(f"{path.name}: {path.read_text()[-1500:]}" for path in sorted(folder.glob("*.out")))
            raise TimeoutError(f"Slurm is not up after {seconds} s.\n{logs}")
        time.sleep(0.2)


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]
