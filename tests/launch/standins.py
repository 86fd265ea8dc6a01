"""Programs that stand in for a cluster's own: they record how they are called, and answer as a test has laid out."""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

AWKWARD = [
    "two words",
    "it's",
    '"$HOME"',
    "a\nb",
    "naïve",
    "",
    "$(touch pwned)",
    "`touch pwned`",
    "x; touch pwned",
    "\\",
    "%j $$ $(HOME)",
]

AS_FLAGS = [part for value in AWKWARD for part in ("--dataset", value)]

RECORD = """
import json, os, sys
said = None if sys.stdin.isatty() else sys.stdin.read()
with open(sys.argv[0] + ".calls", "a") as file:
    file.write(json.dumps({"args": sys.argv[1:], "stdin": said, "environment": dict(os.environ)}) + "\\n")
answer = sys.argv[0] + ".answer"
if os.path.exists(answer):
    code, text = json.load(open(answer))
    (sys.stderr if code else sys.stdout).write(text)
    sys.exit(code)
"""

SRUN = """
import os, sys
command = sys.argv[1:]
while command[0].startswith("-"):
    del command[0]
os.execv(command[0], command)
"""

# becomes the experiment as `launch.member` would, but for the last step: that one is recorded
INTERPRETER = """
import json, os, runpy, sys

def execv(path, args):
    with open(sys.argv0 + ".calls", "a") as file:
        file.write(json.dumps({"args": args[1:], "environment": dict(os.environ)}) + "\\n")
    answer = sys.argv0 + ".answer"
    sys.exit(json.load(open(answer))[0] if os.path.exists(answer) else 0)

sys.argv0, flag, module, *rest = sys.argv
assert flag == "-m"
if module.startswith("experiments."):
    execv("", [sys.argv0, flag, module, *rest])
os.execv = execv
sys.path[:0] = os.environ["PYTHONPATH"].split(":")
sys.argv = [module, *rest]
runpy.run_module(module, run_name="__main__")
"""

SLURM = """
import json, os, re, sys, time
spool = os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "spool")
named = dict(a[2:].split("=", 1) for a in sys.argv[1:] if a.startswith("--") and "=" in a)
if os.path.basename(sys.argv[0]) == "sbatch":
    text = open(sys.argv[-1]).read()
    job = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", text, re.M))
    gate = os.path.join(spool, "gate")
    if os.path.exists(gate):
        open(os.path.join(spool, "called"), "w").close()
        while os.path.exists(gate):
            time.sleep(0.02)
    members = open(os.path.join(named["chdir"], "members.jsonl")).read().splitlines()
    number = 1
    while True:
        try:
            file = open(os.path.join(spool, f"{number}.json"), "x")
            break
        except FileExistsError:
            number += 1
    with file:
        json.dump({"job": job, "members": [json.loads(m) for m in members], "folder": named["chdir"]}, file)
    print(number)
else:
    for entry in sorted(os.listdir(spool)):
        if not entry.endswith(".json"):
            continue
        number = entry[:-5]
        job = json.load(open(os.path.join(spool, entry)))["job"]
        state = os.path.join(spool, f"{number}.state")
        state = open(state).read() if os.path.exists(state) else "PENDING"
        if job["job-name"] not in named["name"].split(",") or state == "GONE":
            continue
        size = int(job["array"].split("%")[0].split("-")[1]) + 1
        for task in range(size if "--array" in sys.argv else 1):
            print(named["format"].replace("%F", number).replace("%j", job["job-name"])
                  .replace("%K", str(task)).replace("%T", state))
"""


def program(folder: Path, name: str, source: str = RECORD) -> Path:
    """A program of this name; it imports nothing but the standard library, and starts fast."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!{sys.executable} -S\n{source}")
    path.chmod(0o755)
    return path


def calls(path: Path) -> list[dict[str, Any]]:
    """How a recording program was called, in order."""
    record = Path(f"{path}.calls")
    return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []


def answers(path: Path, code: int, text: str = "") -> None:
    """Lets a recording program end so from now on."""
    Path(f"{path}.answer").write_text(json.dumps([code, text]))


class Slurm(NamedTuple):
    """sbatch and squeue, whose jobs are never run."""

    bin: Path

    def jobs(self) -> list[dict[str, Any]]:
        """What was submitted, in order."""
        paths = sorted((self.bin / "spool").glob("*.json"), key=lambda path: int(path.stem))
        return [json.loads(path.read_text()) for path in paths]

    def run_dirs(self) -> list[str]:
        """The run directory of each member that was submitted, as often as it was."""
        return [m["flags"][-1] for job in self.jobs() for m in job["members"]]

    def set_state(self, number: int, state: str) -> None:
        """What squeue says of a job; GONE: it does not list it."""
        (self.bin / f"spool/{number}.state").write_text(state)


def slurm(folder: Path) -> Slurm:
    (folder / "spool").mkdir(parents=True)
    for name in ("sbatch", "squeue"):
        program(folder, name, SLURM)
    program(folder, "sacct", "import sys; sys.exit(1)")
    return Slurm(folder)


def path_with(folder: Path, environment: Mapping[str, str] = os.environ) -> str:
    """A PATH on which these programs come first."""
    return f"{folder}{os.pathsep}{environment['PATH']}"


def bare_path(folder: Path) -> str:
    """A PATH with nothing on it but git, which lists what belongs to the code."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "git").exists():
        (folder / "git").symlink_to(shutil.which("git"))
    return str(folder)
