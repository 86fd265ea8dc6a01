"""`python -m launch TARGET NAME [options] [-- flags]` starts an experiment; `status` says how far runs are."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.__main__ import names, unknown_name
from launch.local import background, command_of, foreground

USAGE = {
    "": "python -m launch local NAME [--background] [--dry-run] [-- FLAGS] | status [FOLDER]",
    "local": "python -m launch local NAME [--background] [--dry-run] [-- experiment flags]",
    "status": "python -m launch status [FOLDER]",
}


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser("python -m launch", usage=USAGE[""], description=__doc__, allow_abbrev=False)
    targets = top.add_subparsers(dest="target", metavar="TARGET")
    local = targets.add_parser("local", usage=USAGE["local"], help="on this machine", allow_abbrev=False)
    local.add_argument("name", metavar="NAME", help="an experiment; python -m experiments lists them")
    local.add_argument("--background", action="store_true", help="in a session of its own, with a log")
    local.add_argument("--dry-run", action="store_true", help="print the command and do nothing")
    status = targets.add_parser("status", usage=USAGE["status"], help="the runs below a folder", allow_abbrev=False)
    status.add_argument("folder", metavar="FOLDER", nargs="?", type=Path, default=Path("runs"))
    return top


def main(args: Sequence[str]) -> int:
    own, flags = _split(args)
    options = parser().parse_args(own)
    if options.target is None:
        parser().print_help(sys.stderr)
        return 2
    if options.target == "status":
        if flags:
            return _refused(f"status: takes no experiment flags, found {flags[0]!r}.")
        return _status(options.folder)
    known = names()
    if options.name not in known:
        return _refused(unknown_name(options.name, known))
    return _local(options.name, flags, in_background=options.background, dry_run=options.dry_run)


def _split(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments before the first `--`, and those after it, which belong to the experiment."""
    own = list(args)
    if "--" not in own:
        return own, []
    at = own.index("--")
    return own[:at], own[at + 1 :]


def _refused(message: str) -> int:
    print(f"launch: {message}", file=sys.stderr)
    return 2


def _local(name: str, flags: list[str], *, in_background: bool, dry_run: bool) -> int:
    command = command_of(name, flags)
    if dry_run:
        print(shlex.join(command))
        return 0
    if not in_background:
        return foreground(command)
    logs = _run_dir(flags).parent / "logs"
    try:
        started = background(command, name, logs)
    except OSError as error:
        return _refused(f"{logs}: the log cannot be written ({error.strerror}).")
    print(f"pid     {started.process.pid}")
    print(f"log     {started.log}")
    print(f"follow  tail -f {shlex.quote(str(started.log))}")
    print(f"stop    kill {started.process.pid}   (it saves first; the same command continues it)", flush=True)
    return 0


def _run_dir(flags: list[str]) -> Path:
    """The run directory that the flags name, else one below `runs`. Logs lie beside it: in it they would be foreign."""
    for flag, value in zip(flags, [*flags[1:], ""], strict=True):
        for spelling in ("--run-dir", "--run_dir"):
            if flag == spelling and value:
                return Path(value)
            if flag.startswith(f"{spelling}="):
                return Path(flag.removeprefix(f"{spelling}="))
    return Path("runs/run")


def _status(folder: Path) -> int:
    # here, not above: reading runs imports JAX, which launching one does not need
    from launch.status import show, statuses
    from seqjax.errors import SeqjaxError

    try:
        found = statuses(folder)
    except SeqjaxError as error:
        print(f"launch: {error}", file=sys.stderr)
        return error.exit_code
    if found:
        show(found)
    else:
        print(f"no runs below {folder}")
    return 0


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # the reader has seen enough (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)
