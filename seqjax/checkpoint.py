"""Checkpoints that are verified: Orbax writes the arrays, a manifest of hashes written last says they are whole.

A checkpoint is a directory `NAME` beside its manifest `NAME.json`. Without a manifest that agrees with itself, with
every file and with every array it is not trusted; nor with links, which may lead anywhere. Names sort by age.
"""

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from seqjax.errors import CheckpointError, SaveError
from seqjax.storage import parsed_json, read_json, sha256_of_file, write_atomically

MANIFEST_BYTES = 2**20  # room for what Orbax and the manifest say of the arrays


def named_arrays(tree: PyTree) -> dict[str, np.ndarray]:
    """Every array of the tree by its path, on the host; typed keys as their data."""
    arrays = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        # a copy: the buffer may be donated to the next chapter while the save is still writing
        arrays[jax.tree_util.keystr(path)] = np.array(leaf, copy=True)
    return arrays


def arrays_sha256(arrays: dict[str, np.ndarray]) -> str:
    """One hash of names, types, shapes and bits."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def tree_sha256(tree: PyTree) -> str:
    """`arrays_sha256` of a tree."""
    return arrays_sha256(named_arrays(tree))


class PendingSave(NamedTuple):
    """A save under way; it counts once `commit` has returned."""

    directory: Path
    manifest: dict[str, Any]
    checkpointer: Any


def begin_save(directory: Path, tree: PyTree, details: dict[str, Any]) -> PendingSave:
    """Starts to write the tree to `directory` in the background; `details` (JSON) come back on restore.

    Raises SaveError where there is no room for it.
    """
    import orbax.checkpoint as ocp

    arrays = named_arrays(tree)
    _require_room(directory, sum(array.nbytes for array in arrays.values()))
    manifest = {"details": details, "arrays": _described(arrays), "sha256": arrays_sha256(arrays)}
    with _failing_as_unsaved(directory):
        # the remains of a save that was cut short, or that was not to be trusted; the manifest goes first
        _manifest_path(directory).unlink(missing_ok=True)
        if directory.is_symlink():
            directory.unlink()
        elif directory.exists():
            shutil.rmtree(directory)
        directory.parent.mkdir(exist_ok=True)
        alone = _without_others()
        checkpointer = ocp.AsyncCheckpointer(
            ocp.PyTreeCheckpointHandler(multiprocessing_options=alone), multiprocessing_options=alone
        )
        tree = dict(zip(_keys(len(arrays)), arrays.values(), strict=True))
        checkpointer.save(directory.absolute(), args=ocp.args.PyTreeSave(tree))
    return PendingSave(directory, manifest, checkpointer)


class Retention(NamedTuple):
    """Which checkpoints outlive a save: the newest ones, the best, and of all that were made every so-manieth.

    The best is the one with the lowest `details["validation"]` of the newest phase.
    """

    newest: int = 3
    best: bool = True
    every: int | None = None


def commit(save: PendingSave, *, retention: Retention = Retention()) -> None:  # noqa: B008 - a constant
    """Waits for the save, writes its manifest, and removes the checkpoints that are not to be retained.

    Raises SaveError when it could not be written.
    """
    with _failing_as_unsaved(save.directory):
        # which waits for the save, and raises what it met
        save.checkpointer.close()
        files = {
            str(path.relative_to(save.directory)): sha256_of_file(path)
            for path in sorted(save.directory.rglob("*"))
            if path.is_file()
        }
        manifest = save.manifest | {"number": _next_number(save.directory.parent), "files": files}
        signed = manifest | {"manifest_sha256": _content_sha256(manifest)}
        write_atomically(_manifest_path(save.directory), json.dumps(signed, indent=1))
    for abandoned in save.directory.parent.glob("*.orbax-checkpoint-tmp*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    for old in _outlived(save.directory.parent, retention):
        # the manifest first: what is half removed must not look whole
        _manifest_path(old).unlink(missing_ok=True)
        shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _failing_as_unsaved(directory: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Orbax and TensorStore raise many kinds
        raise SaveError(f"{directory}: cannot be saved ({_reason(error)}).\n{SaveError.ADVICE}") from None


def _reason(error: Exception) -> str:
    """What the operating system had against it, which TensorStore says somewhere in a page; else its first line."""
    told = re.search(r"os_error_code='(\d+)'", str(error))
    code = int(told[1]) if told else getattr(error, "errno", None)
    if code is not None:
        return os.strerror(code)
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__


def _require_room(directory: Path, size: int) -> None:
    above = next(path for path in directory.absolute().parents if path.exists())
    free = shutil.disk_usage(above).free
    if free < size + MANIFEST_BYTES:
        raise SaveError(
            f"{directory}: needs {(size + MANIFEST_BYTES) / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free.\n"
            f"{SaveError.ADVICE}"
        )


def _committed(root: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Checkpoints with a manifest, the last one written first: a save cut short must not push out one that is good.

    Not by step: a run that went back behind damaged ones has its newest save before them.
    """
    found = []
    for directory in checkpoints(root):
        with contextlib.suppress(Untrusted):
            found.append((directory, _manifest(directory)))
    return sorted(found, key=lambda one: one[1]["number"], reverse=True)


def _next_number(root: Path) -> int:
    return 1 + max((manifest["number"] for _, manifest in _committed(root)), default=0)


def _outlived(root: Path, retention: Retention) -> list[Path]:
    committed = _committed(root)
    kept = {directory for directory, _ in committed[: retention.newest]}
    if retention.every is not None:
        kept |= {directory for directory, manifest in committed if manifest["number"] % retention.every == 0}
    if retention.best and committed:
        phase = numbers(committed[0][0])[0]
        scored = [
            (manifest["details"]["validation"], directory)
            for directory, manifest in committed
            if numbers(directory)[0] == phase and _is_finite(manifest["details"].get("validation"))
        ]
        kept |= {min(scored)[1]} if scored else set()
    return [directory for directory, _ in committed if directory not in kept]


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def numbers(directory: Path) -> tuple[int, int]:
    """Phase and step of a checkpoint, by its name."""
    phase, step = directory.name.split("-")
    return int(phase), int(step)


def checkpoints(root: Path) -> list[Path]:
    """Checkpoint directories, named PHASE-STEP, newest first, trusted or not; Orbax's temporary ones are left out."""
    if not root.is_dir():
        return []
    named = (p for p in root.iterdir() if p.is_dir() and not p.is_symlink() and re.fullmatch(r"\d+-\d+", p.name))
    return sorted(named, key=numbers, reverse=True)


class Restored(NamedTuple):
    tree: PyTree
    details: dict[str, Any]
    skipped: list[str]


def restore_newest(root: Path, abstract_trees: dict[int, PyTree]) -> Restored | None:
    """The newest checkpoint that verifies, as a tree shaped like `abstract_trees[details["phase"]]`.

    `skipped` has a line for each newer one that does not. `None` when none was ever committed: no directory has a
    manifest. Raises CheckpointError when there are manifests but nothing that verifies.
    """
    skipped = []
    for directory in checkpoints(root):
        try:
            return restore(directory, abstract_trees)._replace(skipped=skipped)
        except Untrusted as reason:
            skipped.append(f"{directory.name}: {reason}")
    if any(root.glob("*.json")):
        raise CheckpointError(
            f"{root}: no checkpoint can be trusted ({'; '.join(skipped) or 'their directories are gone'}).\n"
            "Put one back from a copy, or start again with another --run-dir."
        )
    return None


def restore(directory: Path, abstract_trees: dict[int, PyTree]) -> Restored:
    """One checkpoint, as a tree shaped like `abstract_trees[details["phase"]]`.

    Raises Untrusted where it does not verify, and CheckpointError where it is of other arrays, before it reads them:
    how much memory a checkpoint may ask for is not for its files to say.
    """
    manifest = _manifest(directory)
    details = manifest["details"]
    if details["phase"] not in abstract_trees:
        raise CheckpointError(f"{directory}: is of phase {details['phase']}, which this configuration has not.")
    abstract = abstract_trees[details["phase"]]
    _require_same_arrays(manifest["arrays"], _described(_named_shapes(abstract)))
    return Restored(_as_tree(_verified(directory, manifest), abstract), details, [])


def _without_others() -> Any:
    """Keeps Orbax from waiting for other processes of the run: this one writes and reads for all."""
    import orbax.checkpoint as ocp

    index = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=index, active_processes={index}, barrier_sync_key_prefix=f"process_{index}"
    )


class Untrusted(Exception):  # noqa: N818 - another checkpoint may be good
    """Why a checkpoint is not to be trusted."""


def _manifest_path(directory: Path) -> Path:
    return directory.with_name(directory.name + ".json")


def _keys(count: int) -> list[str]:
    return [f"array_{i:05d}" for i in range(count)]


def _content_sha256(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _manifest(directory: Path) -> dict[str, Any]:
    path = _manifest_path(directory)
    try:
        if path.is_symlink():
            raise Untrusted("its manifest is a link")
        if path.exists() and not path.is_file():
            raise Untrusted("its manifest is no file")
        signed = read_json(path)
        claimed = signed.pop("manifest_sha256")
        written = _content_sha256(signed)
    except FileNotFoundError:
        raise Untrusted("no manifest, the save was interrupted") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Untrusted("its manifest cannot be read") from None
    if written != claimed:
        raise Untrusted("its manifest is not what was written")
    match signed:
        case {"details": {"phase": int()}, "number": int(), "arrays": dict(), "files": dict(), "sha256": str()}:
            return signed
    raise Untrusted("its manifest is none of a checkpoint")


def _verified(directory: Path, manifest: dict[str, Any]) -> dict[str, np.ndarray]:
    _require_same_files(directory, manifest["files"])
    from orbax.checkpoint import v1 as ocp

    described = manifest["arrays"]
    try:
        wanted = {
            key: np.empty(a["shape"], a["dtype"])
            for key, a in zip(_keys(len(described)), described.values(), strict=True)
        }
        _require_small_chunks(directory, wanted)
        context, alone = ocp.Context(), _without_others()
        context.multiprocessing.primary_host = alone.primary_host
        context.multiprocessing.active_processes = alone.active_processes
        context.multiprocessing.barrier_sync_key_prefix = alone.barrier_sync_key_prefix
        with context:
            loaded = ocp.load(directory.absolute(), wanted)
        arrays = {name: np.asarray(loaded[key]) for key, name in zip(wanted, described, strict=True)}
    except Exception as error:  # Orbax and TensorStore raise many kinds; none of them may be trusted
        raise Untrusted(f"cannot be read ({type(error).__name__})") from None
    if arrays_sha256(arrays) != manifest["sha256"]:
        raise Untrusted("its arrays are not what was written")
    return arrays


def _require_same_files(directory: Path, digests: dict[str, Any]) -> None:
    found = {str(path.relative_to(directory)): path for path in directory.rglob("*") if not path.is_dir()}
    links = [path for path in directory.rglob("*") if path.is_symlink()]
    odd = [path for path in found.values() if not path.is_file()]  # a pipe, which one would wait for
    if links or odd:
        name = (links or odd)[0].relative_to(directory)
        raise Untrusted(f"{str(name)!r} is {'a link' if links else 'no file'}")
    if set(found) != set(digests):
        raise Untrusted(f"files missing or added: {sorted(set(found) ^ set(digests))[0][:100]!r}")
    for name, digest in digests.items():
        try:
            written = sha256_of_file(found[name])
        except OSError as error:
            raise Untrusted(f"{name} cannot be read ({_reason(error)})") from None
        if written != digest:
            raise Untrusted(f"{name} is not what was written")


def _require_small_chunks(directory: Path, wanted: dict[str, np.ndarray]) -> None:
    """Raises ValueError unless every chunk lies within its array: TensorStore gives memory to all of a chunk."""
    import tensorstore

    base = {"driver": "file", "path": f"{directory.absolute()}/"}
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
    described = {key: store.read(f"{key}/.zarray") for key in wanted}
    for key, array in wanted.items():
        chunks = parsed_json(described[key].result().value)["chunks"]
        if len(chunks) != array.ndim or any(c > max(s, 1) for c, s in zip(chunks, array.shape, strict=True)):
            raise ValueError(f"{key} is stored in chunks of {chunks}")


def _described(arrays: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: {"dtype": str(a.dtype), "shape": list(a.shape)} for name, a in arrays.items()}


def _named_shapes(abstract: PyTree) -> dict[str, Any]:
    """Shapes and types of what `named_arrays` makes of such a tree."""
    return {
        jax.tree_util.keystr(path): jax.eval_shape(jax.random.key_data, leaf)
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        else leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(abstract)
    }


def _require_same_arrays(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) == expected.get(name):
            continue
        if name not in found or name not in expected:
            raise CheckpointError(f"the checkpoint belongs to another configuration: {name} is in only one of the two.")
        raise CheckpointError(
            f"the checkpoint belongs to another configuration: {name} is {_shown(found[name])}, "
            f"expected {_shown(expected[name])}."
        )


def _shown(described: Any) -> str:
    match described:
        case {"dtype": str(dtype), "shape": list(shape)}:
            return f"{dtype[:20]}{str(shape)[:60]}"
    return "no array"


def _as_tree(arrays: dict[str, np.ndarray], abstract: PyTree) -> PyTree:
    leaves_with_path, structure = jax.tree_util.tree_flatten_with_path(abstract)
    leaves = []
    for path, leaf in leaves_with_path:
        array = arrays[jax.tree_util.keystr(path)]
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        leaves.append(jax.random.wrap_key_data(array) if is_key else jax.numpy.asarray(array))
    return jax.tree.unflatten(structure, leaves)
