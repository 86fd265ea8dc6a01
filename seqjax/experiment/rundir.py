"""A run directory: whose it is, and its lines of metrics."""

import contextlib
import dataclasses
import errno
import hashlib
import itertools
import json
import math
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqjax.errors import SaveError, UsageError
from seqjax.storage import LOCK, lines, parsed_json, read_json, write_atomically

PUT_BACK = "Put it back from a copy, or start again with another --run-dir."
NEW = "Name a new or empty directory, or one that a run has made."
MOST_SEEDS = 2**16  # of a run: those that `config.json` says it has must not fill the memory
OWN = ("checkpoints", "config.json", "figures", "flight", "metrics.jsonl", "receipt.json", "tensorboard", "wandb", LOCK)
# what may differ of the plan with which a run goes on: its bits then differ by rounding, or not at all where it is
# reproducible
KEPT = "seed_plan"  # whatever suits the devices that it goes on with
TOPOLOGY = ("devices", "seed_devices", "processes", "platform", "driver")


def described(name: str, config: Any, plan: dict[str, Any]) -> dict[str, Any]:
    """What `config.json` says: all that the bits of a run depend on, besides the code and the machine."""
    return json.loads(json.dumps({"experiment": name, "config": dataclasses.asdict(config), "plan": plan}))


def default_run_dir(description: dict[str, Any]) -> Path:
    """`runs/NAME/DATASET-HASH`, so that the same command finds the same run again, on whatever devices."""
    plan = {name: value for name, value in description["plan"].items() if name not in (*TOPOLOGY, KEPT)}
    digest = hashlib.sha256(json.dumps(description | {"plan": plan}, sort_keys=True).encode()).hexdigest()[:8]
    dataset = Path(str(description["config"].get("dataset", "run"))).stem
    return Path("runs") / description["experiment"] / f"{dataset}-{digest}"


def make_directory(run_dir: Path) -> None:
    """Raises UsageError when it cannot be made or written to, or holds something that is no run."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        held = sorted(p.name for p in run_dir.iterdir() if p.name != LOCK and not p.name.startswith(".config.json."))
        # what belongs to something else is refused before anything is touched
        if held and not (run_dir / "config.json").is_file():
            raise UsageError(
                f"--run-dir {run_dir}: holds {held[0]} but no config.json, so it is not a run of this project.\n"
                "Name a new or empty directory."
            )
        if held:
            read_description(run_dir, advice=NEW)
        links = [name for name in OWN if (run_dir / name).is_symlink()]
        if links:
            raise UsageError(
                f"--run-dir {run_dir}: {links[0]} is a link, and what it leads to is not the run's own.\n"
                "Put what it leads to in its place, or name another directory."
            )
        (run_dir / LOCK).touch()
    except FileExistsError:
        raise UsageError(f"--run-dir {run_dir}: is a file, expected a directory.\nName another directory.") from None
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"--run-dir {run_dir}: cannot be written ({reason}).\nName another directory.") from None


def claim(run_dir: Path, description: dict[str, Any]) -> dict[str, Any]:
    """Writes `config.json`, or compares it with the one that is there; what it says in the end.

    An unfinished run may go on with another topology: `config.json` then has the new one, those before in `earlier`.
    How seeds share a device stays as it was begun.
    Raises UsageError naming each other field that differs, and the data set where nothing but its content does.
    """
    path = run_dir / "config.json"
    if not path.exists():
        write_atomically(path, json.dumps(description, indent=2) + "\n")
        return description
    found = read_description(run_dir, advice=NEW)
    if KEPT in found["plan"]:
        description = description | {"plan": description["plan"] | {KEPT: found["plan"][KEPT]}}
    differences = _differences(found, description)
    refused = [
        f"{field} is {found_value!r} there and {wanted_value!r} here"
        for field, found_value, wanted_value in differences
        if field.removeprefix("plan.") not in TOPOLOGY
    ]
    if len(refused) == 1 and refused[0].startswith("data_sha256 "):
        old = "the old file" if names_a_path(found["config"].get("dataset")) else "the code or the files it came from"
        raise UsageError(
            f"{changed_data(run_dir, found, description['data_sha256'])}\n"
            f"Put {old} back to continue it, or name another --run-dir."
        )
    if refused:
        raise UsageError(
            f"{run_dir}: holds a run of another configuration: {'; '.join(refused)}.\n"
            "Repeat that run's flags to continue it, or name another --run-dir."
        )
    if not differences or (run_dir / "receipt.json").exists():
        return found
    before = {name: found["plan"][name] for name in TOPOLOGY if name in found["plan"]}
    description = description | {"earlier": [*found.get("earlier", []), before]}
    write_atomically(path, json.dumps(description, indent=2) + "\n")
    return description


def read_description(run_dir: Path, *, advice: str = "Name a directory that a run has made.") -> dict[str, Any]:
    """What `config.json` of a run directory says. Raises UsageError, with the advice, when there is none to be read."""
    expected = "expected a run directory of this project"
    try:
        is_directory = stat.S_ISDIR(run_dir.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{run_dir}: no such directory, {expected}.\n{advice}") from None
    except (OSError, ValueError) as error:  # no permission, or a name that no file can have
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{run_dir}: cannot be read ({reason}), {expected}.\n{advice}") from None
    if not is_directory:
        raise UsageError(f"{run_dir}: is a file, {expected}.\n{advice}")
    try:
        found = read_json(run_dir / "config.json")
    except (OSError, ValueError):
        found = None
    match found:
        case {"experiment": str(), "config": dict(), "plan": {"seed": int(seed), "seeds": int(seeds)}} if (
            0 <= seed < 2**31 - seeds and 1 <= seeds <= MOST_SEEDS
        ):
            return found
    raise UsageError(f"{run_dir}: no readable config.json, {expected}.\n{advice}")


def names_a_path(dataset: Any) -> bool:
    """Whether the value of `dataset` in a configuration is a file or a folder that is here, and no name."""
    try:
        return isinstance(dataset, str) and bool(dataset) and Path(dataset).expanduser().exists()
    except (OSError, ValueError):  # a name too long, or with a NUL in it
        return False


def changed_data(run_dir: Path, found: dict[str, Any], sha256: str) -> str:
    """How an error begins where the data of a run are no longer those that its `config.json` has the hash of."""
    dataset = found["config"].get("dataset")
    if names_a_path(dataset):
        what = dataset
    else:
        what = f"the data set {dataset!r}" if isinstance(dataset, str) else f"the data set of {found['experiment']}"
    there, here = (str(value)[:8] + "…" for value in (found.get("data_sha256"), sha256))
    return f"{what} has changed since the run in {run_dir} was trained: sha256 {there} there, {here} now."


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    flat_found, flat_wanted = (
        {"experiment": d["experiment"], **{name: d.get(name) for name in ("data_sha256", "fork", "overfit_batch")}}
        | d["config"]
        | {f"plan.{k}": v for k, v in d["plan"].items()}
        for d in (found, wanted)
    )
    fields = list(dict.fromkeys([*flat_found, *flat_wanted]))
    return [
        (field, flat_found.get(field), flat_wanted.get(field))
        for field in fields
        if flat_found.get(field) != flat_wanted.get(field)
    ]


def append_metrics(run_dir: Path, rows: list[dict[str, Any]]) -> None:
    """Adds lines to `metrics.jsonl`; values that are not finite become null.

    Raises SaveError where they cannot be written; the file is then as it was.
    """
    if not rows:
        return
    path, size = run_dir / "metrics.jsonl", None
    try:
        with path.open("ab", buffering=0) as file:
            size = file.tell()
            added = "".join(json.dumps(_without_nan(row)) + "\n" for row in rows).encode()
            if file.write(added) < len(added):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        if size is not None:
            with contextlib.suppress(OSError):  # of a disk that has become read-only
                os.truncate(path, size)
        raise _unsaved(path, error) from None


def sync_metrics(run_dir: Path) -> None:
    """Makes the lines written so far survive a power cut, as a checkpoint that follows them does.

    Raises SaveError where the disk cannot take them.
    """
    path = run_dir / "metrics.jsonl"
    if path.exists():
        try:
            with path.open("rb") as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise _unsaved(path, error) from None


def _unsaved(path: Path, error: OSError) -> SaveError:
    return SaveError(f"{path}: cannot be written ({error.strerror}).\n{SaveError.ADVICE}")


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The whole lines of `metrics.jsonl`; a last line that a crash cut short is left out.

    Raises UsageError for any other line that is not one of metrics.
    """
    path = run_dir / "metrics.jsonl"
    if not path.exists():
        return []
    rows, number = [], 0
    try:
        for number, line in enumerate(lines(path), start=1):  # noqa: B007 - told where it goes wrong
            if line.endswith(b"\n"):
                row = parsed_json(line)
                numbers = {"phase": int(row["phase"]), "step": int(row["step"])}
                if "skipped" in row:
                    numbers |= {"skipped": [int(count) for count in row["skipped"]]}
                rows.append(row | numbers)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}).\n{PUT_BACK}") from None
    except (ValueError, KeyError, TypeError, OverflowError):
        raise UsageError(
            f"{path}: line {number} is not a line of metrics, so the file has been changed or damaged.\n{PUT_BACK}"
        ) from None
    return rows


def metrics_until(
    run_dir: Path, phase: int, step: int, ends: Sequence[Sequence[int]] | None = None
) -> list[dict[str, Any]]:
    """The lines up to a checkpoint. Raises UsageError when some are missing, or are there twice.

    ends: the steps of each phase at which a line stands, in order; a phase before may have ended early.
    """
    rows = [row for row in read_metrics(run_dir) if (row["phase"], row["step"]) <= (phase, step)]
    places = [(row["phase"], row["step"]) for row in rows]
    wrong = step > 0 and (not places or places[-1] != (phase, step))
    if ends is None:
        wrong |= any(b <= a for a, b in itertools.pairwise(places))
    else:
        for index in range(phase + 1):
            found = [step for of, step in places if of == index]
            # a phase that comes before has at least begun
            wrong |= found != list(ends[index][: len(found)]) or (index < phase and bool(ends[index]) and not found)
        wrong |= places != sorted(places)
    if wrong:
        raise UsageError(
            f"{run_dir}: metrics.jsonl lacks lines before step {step} of phase {phase}, where the checkpoint stands, or"
            f" has some twice.\n{PUT_BACK}"
        )
    return rows


def skipped_steps(rows: list[dict[str, Any]], seeds: int) -> dict[int, list[int]]:
    """How many steps of each phase each seed has skipped because their values were not finite."""
    skipped: dict[int, list[int]] = {}
    for row in rows:
        counts = skipped.setdefault(row["phase"], [0] * seeds)
        for position, count in enumerate(row.get("skipped", [])[:seeds]):
            counts[position] += count
    return skipped


def write_metrics(run_dir: Path, rows: list[dict[str, Any]]) -> None:
    """These lines and no others."""
    write_atomically(run_dir / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
