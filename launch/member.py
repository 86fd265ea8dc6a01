"""`python -m launch.member FILE NUMBER` becomes the experiment that line NUMBER of FILE names.

Arguments and environment come from JSON, so that no shell and no scheduler has to carry them.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from launch.local import command_of
from seqjax.storage import lines


def line(name: str, flags: Sequence[str], environment: Mapping[str, str]) -> str:
    """The line of such a file. In ASCII: bytes that are no text survive as they came from the command line."""
    return json.dumps({"name": name, "flags": list(flags), "environment": dict(environment)}) + "\n"


def main(args: Sequence[str]) -> None:
    file, number = args
    member = json.loads(next(islice(lines(Path(file)), int(number), None)))
    os.environ.update(member["environment"])
    command = command_of(member["name"], member["flags"])
    # not a child: a signal to all processes of a job would reach a child twice, and the second ends it unsaved
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
