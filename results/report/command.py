"""The command that repeats a run, from what its `config.json` says."""

import dataclasses
import shlex
from pathlib import Path
from typing import Any

from experiments.__main__ import names, unknown_name
from launch.fields import canonical, fields_of, flags_of
from seqjax.errors import UsageError
from seqjax.experiment.options import Options

LONGEST = 4000  # characters
# of the plan: the others say on which devices it ran
ASKED_FOR = ("seed", "seeds", "reproducible", "stream", "log_every")


def repeating(description: dict[str, Any], *, run_dir: Path | None = None) -> str:
    """The command line with those flags whose values are not the defaults; quoted for a shell.

    run_dir: to go on with an unfinished run.
    Raises UsageError where there is none: the experiment is of another checkout, or a value that of no field.
    """
    name, plan = description["experiment"], description["plan"]
    if name not in names():
        raise UsageError(unknown_name(name[:100], names()))
    options = {field.name for field in dataclasses.fields(Options)}
    known = fields_of(name)
    wanted = {field: value for field, value in description["config"].items() if field not in options}
    wanted |= {field: plan[field] for field in ASKED_FOR if field in plan}
    if isinstance(description.get("fork"), str):
        wanted["fork"] = description["fork"]
    if description.get("overfit_batch") is True:
        wanted["overfit_batch"] = True
    values = {field: canonical(known, field, value) for field, value in wanted.items()}
    flags = flags_of({field: value for field, value in values.items() if value != known[field].default})
    place = [] if run_dir is None else [f"--run-dir={run_dir}"]
    command = shlex.join(["python", "-m", f"experiments.{name}", *flags, *place])
    if len(command) > LONGEST or not command.isprintable():
        raise UsageError("a value is too long or holds what cannot be printed.")
    return command
