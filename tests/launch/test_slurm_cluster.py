import contextlib

import pytest
import slurm_cluster
import standins


@pytest.fixture
def debian(tmp_path, monkeypatch):
    """Where root may install what is missing, and a stand-in does."""
    found = standins.program(tmp_path, "apt-get")
    # what is there, and once something has been installed that too
    listed = f"import os\nprint('ii  bash')\nif os.path.exists({str(found) + '.calls'!r}):\n    print('ii  munge')\n"
    standins.program(tmp_path, "dpkg-query", listed)
    monkeypatch.setenv("PATH", standins.path_with(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(slurm_cluster, "missing", lambda: ["sbatch"])
    monkeypatch.setattr(slurm_cluster, "_no_daemons_started", contextlib.nullcontext)
    return found


def test_lists_of_packages_are_brought_before_any_is_installed_and_what_was_is_removed(debian):
    with slurm_cluster.installed() as hindrance:
        assert hindrance is None
    asked = [call["args"][2:] for call in standins.calls(debian)]
    assert asked == [["update"], ["install", *slurm_cluster.PACKAGES], ["purge", "munge"]]


def test_what_cannot_be_installed_is_said(debian):
    standins.answers(debian, 100, "E: Unable to locate package slurm-wlm")
    with slurm_cluster.installed() as hindrance:
        assert hindrance == "Slurm cannot be installed: E: Unable to locate package slurm-wlm"
