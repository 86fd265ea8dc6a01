"""A folder with an exported model: a program for each function, the weights, and a description with their hashes."""

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax import Array

from seqjax import __version__
from seqjax.errors import DataError, UsageError
from seqjax.interop.export.program import Program, first_line
from seqjax.interop.export.weights import Named, load_named_weights, save_named_weights
from seqjax.storage import LARGEST_JSON, beginning, parsed_json, sha256_of_file, write_atomically

FORMAT = 1
DESCRIPTION = "export.json"
WEIGHTS = "weights.safetensors"
NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")


class Model(NamedTuple):
    """functions: by name, the weights bound. weights: by name. description: what `export.json` says."""

    functions: dict[str, Callable[..., Any]]
    weights: Named
    description: dict[str, Any]


def write_export(
    folder: str | Path,
    programs: Mapping[str, Program],
    weights: Mapping[str, Array],
    *,
    source: Mapping[str, Any] | None = None,
) -> None:
    """Makes `folder` with `NAME.jax_export` for each program, `weights.safetensors` and `export.json`, or nothing.

    source: what the model is, in values of JSON; it is kept in the description.

    Raises `UsageError` where the folder exists, cannot be made, or a name is none for a file.

    Examples:
        >>> import jax.numpy as jnp
        >>> from seqjax import exported, named_weights, read_export, write_export
        >>> params = {"w": jnp.ones((3, 2))}
        >>> program = exported(lambda params, x: x @ params["w"], params, {"x": jnp.zeros((1, 3))})
        >>> write_export("scaled", {"scale": program}, named_weights(params))
        >>> print(read_export("scaled").functions["scale"](jnp.ones((1, 3))))
        [[3. 3.]]
    """
    folder = Path(folder)
    for name in programs:
        if not NAME.fullmatch(name):
            raise UsageError(f"function name {name!r}: expected letters, digits and underscores.")
    if os.path.lexists(folder):
        raise UsageError(f"{folder}: is there already, and nothing is overwritten. Name another folder.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        with contextlib.ExitStack() as undo:
            undo.callback(shutil.rmtree, temporary, ignore_errors=True)
            _fill(temporary, programs, weights, source)
            temporary.chmod(0o755)
            temporary.rename(folder)
            undo.pop_all()
    except OSError as error:
        raise UsageError(
            f"{folder}: cannot be made ({error.strerror or error}). Make room or name another folder."
        ) from None


def _fill(
    folder: Path, programs: Mapping[str, Program], weights: Mapping[str, Array], source: Mapping[str, Any] | None
) -> None:
    save_named_weights(folder / WEIGHTS, weights, metadata={"format": f"seqjax export {FORMAT}"})
    described = {}
    for name, program in programs.items():
        file = folder / f"{name}.jax_export"
        # forward alone: no derivative is part of it
        write_atomically(file, bytes(program.exported.serialize(vjp_order=0)))
        described[name] = {
            "inputs": program.inputs,
            "outputs": program.outputs,
            "platforms": list(program.exported.platforms),
            "sha256": sha256_of_file(file),
        }
    description = {
        "format": FORMAT,
        "functions": described,
        "weights_sha256": sha256_of_file(folder / WEIGHTS),
        "seqjax": __version__,
        "jax": jax.__version__,
        "source": dict(source or {}),
    }
    write_atomically(folder / DESCRIPTION, json.dumps(description, indent=2) + "\n")


def read_export(folder: str | Path) -> Model:
    """What `write_export` has written, each file held to its hash before it is opened.

    Raises `DataError` for what is no such folder, is damaged, or was written by a later version.

    Examples:
        See `write_export`; what is no such folder is refused:

        >>> from seqjax import read_export
        >>> read_export("no_such_folder")
        Traceback (most recent call last):
        seqjax.errors.DataError: no_such_folder: no readable export.json, expected a folder that an export has made.
    """
    folder = Path(folder)
    description = _description(folder)
    weights_file = _checked(folder / WEIGHTS, description["weights_sha256"])
    weights = load_named_weights(weights_file)
    functions = {}
    for name, entry in description["functions"].items():
        content = _checked(folder / f"{name}.jax_export", entry["sha256"]).read_bytes()
        try:
            program = jax.export.deserialize(bytearray(content))
        except Exception as error:  # JAX names no kinds of error for what it cannot read
            why = first_line(error)
            raise DataError(f"{folder / name}.jax_export: JAX {jax.__version__} cannot read it ({why}).") from None
        functions[name] = partial(program.call, weights)
    return Model(functions, weights, description)


def _description(folder: Path) -> dict[str, Any]:
    try:
        found = parsed_json(beginning(folder / DESCRIPTION, LARGEST_JSON + 1))
    except (OSError, ValueError):
        found = None
    match found:
        case {"format": int(version)} if version != FORMAT:
            raise DataError(f"{folder}: is of format {version}, expected {FORMAT}. Export it again with this version.")
        case {"format": int(), "functions": dict(functions), "weights_sha256": str()} if all(
            NAME.fullmatch(name) and isinstance(entry, dict) and isinstance(entry.get("sha256"), str)
            for name, entry in functions.items()
        ):
            return found
    raise DataError(f"{folder}: no readable {DESCRIPTION}, expected a folder that an export has made.")


def _checked(path: Path, sha256: str) -> Path:
    try:
        beginning(path, 0)  # of a pipe nothing would ever come
        found = sha256_of_file(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}). Export the model again.") from None
    if found != sha256:
        raise DataError(f"{path}: is damaged, its SHA-256 is not the one in {DESCRIPTION}. Export the model again.")
    return path
