import os
import subprocess
from pathlib import Path

import pytest

from launch import snapshot as snapshots
from launch.snapshot import code_files, digest, snapshot
from seqjax.errors import UsageError


@pytest.fixture
def checkout(tmp_path):
    root = tmp_path / "check out"
    root.mkdir()
    for name, content in {"a.py": "1", "naïve 'x'\n.py": "2", "sub/run": "3", ".gitignore": "/runs\n*.tmp\n"}.items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    (root / "sub/run").chmod(0o755)
    (root / "link").symlink_to("a.py")
    subprocess.run(["git", "-C", str(root), "init", "-q"], check=True)
    subprocess.run(["git", "-C", str(root), "add", "a.py"], check=True)
    (root / "runs").mkdir()
    (root / "runs/x").write_text("x")
    (root / "b.tmp").write_text("x")
    return root


def listing(folder: Path) -> dict[str, tuple[str | bytes, int]]:
    found = {}
    for path in folder.rglob("*"):
        if path.is_symlink() or path.is_file():
            content = os.readlink(path) if path.is_symlink() else path.read_bytes()
            found[str(path.relative_to(folder))] = content, path.lstat().st_mode & 0o111
    return found


def test_the_code_and_nothing_else_is_copied(checkout, tmp_path):
    copy = snapshot(tmp_path / "copies", checkout)
    found = listing(checkout)
    expected = {name: found[name] for name in found if not name.startswith((".git/", "runs", "b.tmp"))}
    assert listing(copy) == expected
    assert len(expected) == 5


def test_what_is_edited_afterwards_changes_another_copy(checkout, tmp_path):
    first = snapshot(tmp_path / "copies", checkout)
    assert snapshot(tmp_path / "copies", checkout) == first
    (checkout / "a.py").write_text("changed")
    second = snapshot(tmp_path / "copies", checkout)
    assert second != first
    assert (first / "a.py").read_text() == "1"
    assert (second / "a.py").read_text() == "changed"
    assert {path.name for path in (tmp_path / "copies").iterdir()} == {first.name, second.name}


@pytest.mark.parametrize("edit", ["chmod", "rename", "move", "delete"])
def test_the_name_tells_every_difference(edit, checkout):
    before = digest(code_files(checkout))
    match edit:
        case "chmod":
            (checkout / "sub/run").chmod(0o644)
        case "rename":
            (checkout / "sub/run").rename(checkout / "sub/ran")
        case "move":
            (checkout / "a.py").write_text("")
            (checkout / "c.py").write_text("1")
        case "delete":
            (checkout / "a.py").unlink()
    assert digest(code_files(checkout)) != before


def test_where_there_is_no_checkout_it_is_said(tmp_path):
    with pytest.raises(UsageError, match="git knows no checkout here"):
        snapshot(tmp_path / "copies", tmp_path)


def test_data_left_in_the_checkout_are_not_taken_for_code(checkout, tmp_path, monkeypatch):
    monkeypatch.setattr(snapshots, "LARGEST", 100)
    (checkout / "data.npy").write_bytes(b"x" * 101)
    with pytest.raises(UsageError, match=r"data\.npy: larger than"):
        snapshot(tmp_path / "copies", checkout)
    assert not list((tmp_path / "copies").iterdir())
