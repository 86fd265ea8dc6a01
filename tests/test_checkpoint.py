import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import checkpoint
from seqjax.checkpoint import Retention
from seqjax.errors import CheckpointError, SaveError
from seqjax.storage import sha256_of_file


def tree_of(value: float):
    return {
        "w": jnp.full((40, 3), value),
        "key": jax.random.split(jax.random.key(5)),
        "nested": (jnp.int32(7), {"flag": jnp.asarray([True, False])}),
        "half": jnp.asarray([value, 0.1], jnp.bfloat16),
        "empty": (),
    }


ABSTRACT = {0: jax.eval_shape(lambda: tree_of(0.0))}


def save(root: Path, number: int, *, phase: int = 0, validation: float | None = None, **retention):
    details = {"phase": phase, "done": number} | ({} if validation is None else {"validation": validation})
    pending = checkpoint.begin_save(root / f"{phase}-{number:09d}", tree_of(float(number)), details)
    checkpoint.commit(pending, retention=Retention(**retention))


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "checkpoints"
    for number in (1, 2):
        save(root, number)
    return root


def restored(root: Path):
    return checkpoint.restore_newest(root, ABSTRACT)


def test_everything_comes_back_bit_for_bit(root):
    found = restored(root)
    assert found.details == {"phase": 0, "done": 2}
    assert found.skipped == []
    assert jax.tree.structure(found.tree) == jax.tree.structure(tree_of(2.0))
    assert checkpoint.tree_sha256(found.tree) == checkpoint.tree_sha256(tree_of(2.0))
    np.testing.assert_array_equal(
        jax.random.uniform(found.tree["key"][1]), jax.random.uniform(jax.random.split(jax.random.key(5))[1])
    )


def test_the_hash_sees_a_bit_a_shape_a_type_and_a_name():
    base = {"a": np.zeros((2, 3), np.float32)}
    others = [
        {"a": np.asarray([[0, 0, 0], [0, 0, 1e-45]], np.float32)},
        {"a": np.zeros((3, 2), np.float32)},
        {"a": np.zeros((2, 3), np.int32)},
        {"b": np.zeros((2, 3), np.float32)},
    ]
    hashes = {checkpoint.arrays_sha256(tree) for tree in [base, *others]}
    assert len(hashes) == 5
    assert checkpoint.arrays_sha256({"a": base["a"].copy()}) in hashes


def files_of(root: Path) -> list[Path]:
    newest = root / "0-000000002"
    return [*sorted(p for p in newest.rglob("*") if p.is_file()), root / "0-000000002.json"]


FILE_COUNT = 10


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def zero(path):
    path.write_bytes(bytes(len(path.read_bytes())))


def flip_twelve_bits(path):
    data = bytearray(path.read_bytes())
    for position in np.random.default_rng(0).integers(0, 8 * len(data), 12):
        data[position // 8] ^= 1 << (position % 8)
    path.write_bytes(data)


@pytest.mark.parametrize("fault", [truncate, zero, flip_twelve_bits, Path.unlink])
def test_a_fault_in_any_file_is_seen_and_the_one_before_is_taken(root, tmp_path, fault):
    for number, original in enumerate(files_of(root)):
        if fault is not Path.unlink and original.stat().st_size == 0:
            continue  # an empty file has nothing to lose
        copy = tmp_path / f"copy{number}"
        shutil.copytree(root, copy)
        fault(copy / original.relative_to(root))
        found = restored(copy)
        assert found.details["done"] == 1, original.name
        assert len(found.skipped) == 1
        assert found.skipped[0].startswith("0-000000002: "), original.name


def test_an_added_file_is_seen(root):
    (root / "0-000000002" / "more").write_text("x")
    assert restored(root).skipped == ["0-000000002: files missing or added: 'more'"]


def test_a_save_without_manifest_does_not_count(root):
    (root / "0-000000002.json").unlink()
    assert "interrupted" in restored(root).skipped[0]
    (root / "0-000000001.json").unlink()
    assert restored(root) is None


def test_nothing_to_trust_is_an_error_with_exit_code_four(root):
    for path in root.glob("0-*/_CHECKPOINT_METADATA"):
        truncate(path)
    with pytest.raises(CheckpointError, match=r"no checkpoint can be trusted .*0-000000002: .*0-000000001: "):
        restored(root)
    for directory in list(root.glob("0-*")):
        if directory.is_dir():
            shutil.rmtree(directory)
    with pytest.raises(CheckpointError, match="directories are gone") as error:
        restored(root)
    assert error.value.exit_code == 4


def test_an_empty_or_absent_root_is_a_fresh_start(tmp_path):
    assert restored(tmp_path / "absent") is None
    assert restored(tmp_path) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t | {"w": jnp.zeros((40, 4))}, r"\['w'\] is float32\[40, 3\], expected float32\[40, 4\]"),
        (lambda t: t | {"w": jnp.zeros((40, 3), jnp.int32)}, r"\['w'\] is float32\[40, 3\], expected int32"),
        (lambda t: t | {"more": jnp.zeros(1)}, r"\['more'\] is in only one"),
    ],
)
def test_another_configuration_is_refused_by_name(root, change, message):
    with pytest.raises(CheckpointError, match=message):
        checkpoint.restore_newest(root, {0: jax.eval_shape(lambda: change(tree_of(0.0)))})


def test_only_the_newest_are_kept_and_a_broken_save_is_replaced(root):
    (root / "0-000000003").mkdir()
    (root / "0-000000003" / "half").write_text("interrupted")
    (root / "0-000000002.orbax-checkpoint-tmp-7").mkdir()
    save(root, 3, newest=2)
    assert [p.name for p in checkpoint.checkpoints(root)] == ["0-000000003", "0-000000002"]
    assert sorted(p.name for p in root.glob("*.json")) == ["0-000000002.json", "0-000000003.json"]
    assert restored(root).details["done"] == 3
    assert not list(root.glob("*tmp*"))


def kept(root: Path) -> list[str]:
    names = [path.name for path in checkpoint.checkpoints(root)]
    assert sorted(f"{name}.json" for name in names) == sorted(path.name for path in root.glob("*.json"))
    return [f"{int(phase)}:{int(step)}" for phase, step in (name.split("-") for name in names)]


def test_the_best_and_every_third_outlive_the_newest(tmp_path):
    scores = [5.0, 1.0, 4.0, 3.0, 2.0, 6.0, 7.0]
    for number, score in enumerate(scores, start=1):
        save(tmp_path, number, validation=score, newest=2, every=3)
    assert kept(tmp_path) == ["0:7", "0:6", "0:3", "0:2"]
    # what is as good came earlier; another phase has a best of its own
    save(tmp_path, 8, validation=1.0, newest=1, every=100)
    assert kept(tmp_path) == ["0:8", "0:2"]
    save(tmp_path, 0, phase=1, validation=9.0, newest=1)
    save(tmp_path, 1, phase=1, validation=10.0, newest=1)
    assert kept(tmp_path) == ["1:1", "1:0"]
    save(tmp_path, 2, phase=1, validation=8.0, newest=1, best=False)
    assert kept(tmp_path) == ["1:2"]


def test_a_save_behind_damaged_ones_stays_and_is_found(tmp_path):
    for number in (20, 50, 70, 80):
        save(tmp_path, number, newest=4)
    for number in (70, 80):
        zero(max((tmp_path / f"0-{number:09d}").rglob("?*"), key=lambda path: path.stat().st_size * path.is_file()))
    assert restored(tmp_path).details["done"] == 50
    save(tmp_path, 60, newest=1)
    assert kept(tmp_path) == ["0:60"]
    assert restored(tmp_path).details["done"] == 60


def test_a_file_that_cannot_be_read_is_passed_over(root, monkeypatch):
    broken = files_of(root)[0]

    def sha256(path):
        if path == broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return sha256_of_file(path)

    monkeypatch.setattr(checkpoint, "sha256_of_file", sha256)
    found = restored(root)
    assert found.details["done"] == 1
    assert "cannot be read (Input/output error)" in found.skipped[0]


@pytest.mark.parametrize("what", ["a file", "the manifest"])
def test_a_pipe_is_not_waited_for(what, root):
    path = root / "0-000000002.json" if what == "the manifest" else files_of(root)[0]
    path.unlink()
    os.mkfifo(path)
    found = restored(root)
    assert found.details["done"] == 1
    assert "is no file" in found.skipped[0]


def test_without_room_nothing_is_touched(root, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(SaveError, match="needs 1 MB, and 0 MB are free"):
        save(root, 3)
    assert kept(root) == ["0:2", "0:1"]
    monkeypatch.undo()
    save(root, 3)
    assert restored(root).details["done"] == 3


def test_a_save_that_fails_leaves_the_last_good_one_and_the_next_goes_through(root, monkeypatch):
    pending = checkpoint.begin_save(root / "0-000000003", tree_of(3.0), {"phase": 0, "done": 3})

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_atomically", full)
    with pytest.raises(SaveError, match=r"cannot be saved .*No space left on device"):
        checkpoint.commit(pending)
    monkeypatch.undo()
    assert restored(root).details["done"] == 2
    save(root, 4)
    assert restored(root).details["done"] == 4


def test_saves_cut_short_do_not_push_out_good_ones(root):
    for number in (8, 9, 10):
        (root / f"0-{number:09d}").mkdir()
    save(root, 3)
    assert restored(root).details["done"] == 3
    assert len(list(root.glob("*.json"))) == 3


def test_age_is_told_by_numbers(tmp_path):
    for name in ("2-000000007", "10-000000001", "9-1000000000", "9-999999999"):
        (tmp_path / name).mkdir()
    names = [p.name for p in checkpoint.checkpoints(tmp_path)]
    assert names == ["10-000000001", "9-1000000000", "9-999999999", "2-000000007"]


def test_a_donated_buffer_does_not_change_what_is_saved(tmp_path):
    donate = jax.jit(lambda t: jax.tree.map(lambda a: a * 0 - 1, t), donate_argnums=0)
    state = {"w": jnp.arange(1_000_000.0)}
    expected = checkpoint.tree_sha256(state)
    pending = checkpoint.begin_save(tmp_path / "c" / "0-000000001", state, {"phase": 0})
    state = jax.block_until_ready(donate(state))
    checkpoint.commit(pending)
    found = checkpoint.restore_newest(tmp_path / "c", {0: jax.eval_shape(lambda: {"w": jnp.zeros(1_000_000)})})
    assert checkpoint.tree_sha256(found.tree) == expected


def test_manifests_are_json_with_names_shapes_and_hashes(root):
    manifest = json.loads((root / "0-000000002.json").read_text())
    assert manifest["arrays"]["['w']"] == {"dtype": "float32", "shape": [40, 3]}
    assert all(len(digest) == 64 for digest in manifest["files"].values())


def test_a_fault_in_any_bit_of_a_manifest_is_seen(root):
    path = root / "0-000000002.json"
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 61):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(data)
        found = restored(root)
        # between two words of JSON, white space may become other white space
        same = found.skipped == [] and json.loads(data) == json.loads(whole)
        assert same or found.details["done"] == 1, bit


def rewritten(root, change):
    """The newest manifest as somebody would write it who means harm: what it says of itself is right."""
    path = root / "0-000000002.json"
    manifest = json.loads(path.read_text())
    del manifest["manifest_sha256"]
    change(manifest)
    text = json.dumps(manifest, sort_keys=True)
    path.write_text(json.dumps(manifest | {"manifest_sha256": hashlib.sha256(text.encode()).hexdigest()}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("details", []),
        ("details", {"phase": "0"}),
        ("details", {"phase": [0]}),
        ("details", {"phase": None}),
        ("number", "1"),
        ("arrays", [1]),
        ("files", ["x"]),
        ("files", {"../../outside": "0" * 64}),
        ("files", {"/etc/passwd": "0" * 64}),
        ("sha256", None),
    ],
)
def test_a_manifest_that_is_none_of_a_checkpoint_is_not_trusted(root, field, value):
    rewritten(root, lambda manifest: manifest.update({field: value}))
    found = restored(root)
    assert found.details["done"] == 1
    assert len(found.skipped) == 1


@pytest.mark.parametrize("dtype", ["float32", "object", "S1000000000", "no type", None])
def test_no_manifest_can_ask_for_more_memory_than_the_run_needs(root, dtype):
    rewritten(root, lambda manifest: manifest["arrays"].update({"['w']": {"dtype": dtype, "shape": [2**50, 3]}}))
    with pytest.raises(CheckpointError, match=r"\['w'\] is .*, expected float32\[40, 3\]"):
        restored(root)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "1" * 10_000, "null", "[]", '"x"', "\ud800"])
def test_odd_json_in_place_of_a_manifest_is_not_trusted(root, text):
    (root / "0-000000002.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    assert restored(root).skipped == ["0-000000002: its manifest cannot be read"]


def test_a_manifest_too_large_to_be_one_is_not_read(root):
    with (root / "0-000000002.json").open("r+b") as file:
        file.truncate(2**40)  # a hole: it takes no room on the disk
    assert restored(root).skipped == ["0-000000002: its manifest cannot be read"]


def test_links_out_of_a_checkpoint_are_not_followed(root, tmp_path):
    file = next(path for path in files_of(root) if path.stat().st_size)
    file.rename(tmp_path / "outside")
    file.symlink_to(tmp_path / "outside")
    assert restored(root).skipped[0].endswith("is a link")
    (tmp_path / "outside").rename(tmp_path / "gone")
    assert restored(root).skipped[0].endswith("is a link")


def test_links_in_place_of_a_checkpoint_or_its_manifest_are_not_followed(root, tmp_path):
    (root / "0-000000002.json").rename(tmp_path / "manifest")
    (root / "0-000000002.json").symlink_to(tmp_path / "manifest")
    assert restored(root).skipped == ["0-000000002: its manifest is a link"]
    (root / "0-000000002").rename(tmp_path / "elsewhere")
    (root / "0-000000002").symlink_to(tmp_path / "elsewhere")
    assert restored(root).details["done"] == 1
    # and a save of that name leaves what the link leads to alone
    kept = sorted((tmp_path / "elsewhere").rglob("*"))
    save(root, 2)
    assert sorted((tmp_path / "elsewhere").rglob("*")) == kept
