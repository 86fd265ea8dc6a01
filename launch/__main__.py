"""`python -m launch TARGET NAME [options] [-- flags]` starts an experiment; `status` says how far runs are."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from experiments.__main__ import names, unknown_name
from launch import kubernetes, slurm, sweep, tpu
from launch.arguments import count
from launch.fields import fields_of
from launch.flags import run_dir_of, values_of
from launch.grid import FORM
from launch.local import background, command_of, foreground
from launch.table import printable
from seqjax.errors import SeqjaxError, UsageError, shown

USAGE = {
    "local": "local NAME [--processes N] [--background] [--dry-run] [-- experiment flags]",
    "slurm": "slurm NAME [--follow] [--dry-run] [resources: see --help] [-- experiment flags]",
    "kubernetes": "kubernetes NAME --image I --claim C [--dry-run] [more: see --help] [-- experiment flags]",
    "tpu": "tpu NAME --tpu T --zone Z [--dry-run] [more: see --help] [-- experiment flags]",
    "sweep": "sweep NAME --grid FILE [--on local|slurm] [more: see --help] [-- flags of all members]",
    "sweep-status": "sweep-status FOLDER",
    "status": "status [FOLDER]",
}
JOBS = Path("runs/jobs")


class Parser(argparse.ArgumentParser):
    """Two lines for an error, whatever the arguments hold."""

    def error(self, message: str) -> NoReturn:
        hint = "; those of the experiment follow --" if message.startswith("unrecognized") else ""
        self.exit(2, f"launch: {printable(message)}{hint}\n{self.format_usage()}")


def parser() -> argparse.ArgumentParser:
    top = Parser("python -m launch", usage="python -m launch TARGET ...", description=__doc__, allow_abbrev=False)
    targets = top.add_subparsers(dest="target", metavar="TARGET")

    def target(name: str, about: str) -> argparse.ArgumentParser:
        usage = f"python -m launch {USAGE[name]}"
        return targets.add_parser(name, usage=usage, help=about, description=about, allow_abbrev=False)

    def experiment(name: str, about: str) -> argparse.ArgumentParser:
        made = target(name, about)
        made.add_argument("name", metavar="NAME", help="an experiment; python -m experiments lists them")
        made.add_argument("--dry-run", action="store_true", help="print what would be done, and do nothing")
        return made

    local = experiment("local", "on this machine")
    local.add_argument("--background", action="store_true", help="in a session of its own, with a log")
    local.add_argument("--processes", type=count, help="on this machine, sharing the run")
    job = experiment("slurm", "as a job that saves, stops and goes on as the cluster wants")
    job.add_argument("--follow", action="store_true", help="print the log until the job has ended; exit with its code")
    job.add_argument("--folder", type=Path, default=JOBS, help="for scripts, logs and copies of the code")
    slurm.add_resources(job)
    kubernetes.add_pods(experiment("kubernetes", "as an indexed JobSet"))
    machine = experiment("tpu", "on all workers of a Cloud TPU VM")
    machine.add_argument("--folder", type=Path, default=JOBS, help="for copies of the code")
    tpu.add_machine(machine)
    many = experiment("sweep", "many configurations; the same command goes on where it stopped")
    many.add_argument("--grid", type=Path, required=True, help=f"JSON: {FORM}")
    many.add_argument("--on", choices=("local", "slurm"), default="local", dest="where")
    many.add_argument("--folder", type=Path, help="of the sweep; default: runs/sweeps/NAME-HASH")
    many.add_argument("--jobs", type=count, help="members that run at a time; default: 1 here, Slurm's own limit there")
    many.add_argument("--chunk", type=count, default=1000, help="members of one array, below Slurm's MaxArraySize")
    many.add_argument("--resubmit", action="store_true", help="those that failed, too")
    slurm.add_resources(many)
    target("sweep-status", "the members of a sweep").add_argument("folder", metavar="FOLDER", type=Path)
    runs = target("status", "the runs below a folder")
    runs.add_argument("folder", metavar="FOLDER", nargs="?", type=Path, default=Path("runs"))
    return top


def main(args: Sequence[str]) -> int:
    own, flags = _split(args)
    options = parser().parse_args(own)
    if options.target is None:
        parser().print_help(sys.stderr)
        return 2
    try:
        return _start(options, flags)
    except SeqjaxError as error:
        print(f"launch: {shown(str(error))}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        raise
    except OSError as error:
        # a folder that cannot be written, a full disk
        print(f"launch: {printable(str(error.filename or 'a file'))}: {error.strerror or error}.", file=sys.stderr)
        return 2


def _split(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments before the first `--`, and those after it, which belong to the experiment."""
    own = list(args)
    if "--" not in own:
        return own, []
    at = own.index("--")
    return own[:at], own[at + 1 :]


def _start(options: argparse.Namespace, flags: list[str]) -> int:
    if options.target in ("status", "sweep-status"):
        if flags:
            raise UsageError(f"{options.target}: takes no experiment flags, found {flags[0]!r}.")
        return _status(options.folder) if options.target == "status" else sweep.status(options.folder)
    name, known = options.name, names()
    if name not in known:
        raise UsageError(unknown_name(name, known))
    if options.target != "local" or not {"-h", "--help"} & set(flags):
        # said now, and not by a job that has waited in a queue, or in the log of what runs in the background
        values_of(fields_of(name), flags)
    match options.target:
        case "local":
            return _local(name, flags, options)
        case "slurm":
            asked, dry_run = slurm.resources(options), options.dry_run
            return slurm.launch(name, flags, asked, options.folder, follows=options.follow, dry_run=dry_run)
        case "kubernetes":
            return kubernetes.launch(name, flags, kubernetes.pods(options), dry_run=options.dry_run)
        case "tpu":
            return tpu.launch(name, flags, tpu.machine(options), options.folder, dry_run=options.dry_run)
    asked = slurm.resources(options)
    places = (options.grid, options.where, options.folder)
    wanted = sweep.Sweep(name, flags, *places, options.jobs, options.chunk, options.resubmit, asked)
    return sweep.launch(wanted, dry_run=options.dry_run)


def _local(name: str, flags: list[str], options: argparse.Namespace) -> int:
    command = command_of(name, [*(["--processes", str(options.processes)] if options.processes else []), *flags])
    if options.dry_run:
        print(shlex.join(command))
        return 0
    if not options.background:
        return foreground(command)
    # beside the run directory, in which they would be foreign
    logs = Path(run_dir_of(flags) or "runs/run").parent / "logs"
    started = background(command, name, logs)
    print(f"pid     {started.process.pid}")
    print(f"log     {started.log}")
    print(f"follow  tail -f {shlex.quote(str(started.log))}")
    print(f"stop    kill {started.process.pid}   (it saves first; the same command continues it)", flush=True)
    return 0


def _status(folder: Path) -> int:
    # here, not above: reading runs imports JAX, which launching one does not need
    from launch.status import show, statuses

    found = statuses(folder)
    if found:
        show(found)
    else:
        print(f"no runs below {folder}")
    return 0


if __name__ == "__main__":
    # a path that is no text is printed as the bytes that it is
    sys.stdout.reconfigure(errors="surrogateescape")
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # the reader has seen enough (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except KeyboardInterrupt:
        print("launch: interrupted; what was submitted stays.", file=sys.stderr)
        code = 130
    sys.exit(code)
