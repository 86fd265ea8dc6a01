import json
import shlex
from pathlib import Path

import pytest
import standins
from standins import AS_FLAGS, AWKWARD

from launch.__main__ import main

BASE = ["tpu", "autoencoder", "--tpu", "pod", "--zone", "us-west4-a"]
MADE = ["--create", "--type", "v5litepod-16", "--runtime", "v2-alpha-tpuv5-lite", "--spot", "--project", "lab"]

# unpacks what is copied where a worker's home would be, and runs there what ssh is to run on each
GCLOUD = """
import json, os, shutil, subprocess, sys
home = os.path.dirname(os.path.abspath(sys.argv[0])) + "/home"
os.makedirs(home, exist_ok=True)
with open(sys.argv[0] + ".calls", "a") as file:
    file.write(json.dumps({"args": sys.argv[1:]}) + "\\n")
verb = sys.argv[4]
if verb == "scp":
    shutil.copy(sys.argv[5], home + "/" + sys.argv[6].partition(":")[2])
if verb == "ssh":
    command = [a for a in sys.argv if a.startswith("--command=")][0].removeprefix("--command=")
    sys.exit(subprocess.run(["bash", "-c", command], cwd=home).returncode)
"""


@pytest.fixture
def gcloud(tmp_path, monkeypatch) -> Path:
    found = standins.program(tmp_path / "bin", "gcloud", GCLOUD)
    monkeypatch.setenv("PATH", standins.path_with(found.parent))
    monkeypatch.chdir(tmp_path)
    return found


def test_a_dry_run_prints_the_commands_for_all_workers(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*BASE, *MADE, "--dry-run", "--", "--dataset", "it's 1"]) == 0
    create, copy, run = (shlex.split(line) for line in capsys.readouterr().out.splitlines())
    tool, where = ["gcloud", "compute", "tpus", "tpu-vm"], ["--quiet", "--zone=us-west4-a", "--project=lab"]
    made = ["--accelerator-type=v5litepod-16", "--version=v2-alpha-tpuv5-lite", "--spot"]
    assert create == [*tool, "create", "pod", *where, *made]
    assert copy[:5] == [*tool, "scp"]
    assert copy[6].startswith("pod:seqjax-")
    assert copy[7:] == [*where, "--worker=all"]
    assert run[:-1] == [*tool, "ssh", "pod", *where, "--worker=all"]
    assert run[-1].endswith("&& exec python3 -m experiments.autoencoder --dataset 'it'\"'\"'s 1'")
    assert not list(tmp_path.iterdir())


def test_values_arrive_on_the_worker_as_they_are(gcloud, tmp_path):
    python = standins.program(tmp_path / "inter preter's", "$py thon", standins.INTERPRETER)
    settings = [part for i, value in enumerate(AWKWARD) for part in ("--env", f"KEY{i}={value}")]
    assert main([*BASE, *settings, "--python", str(python), "--", *AS_FLAGS]) == 0
    assert [call["args"][3] for call in standins.calls(gcloud)] == ["scp", "ssh"]
    (called,) = standins.calls(python)
    assert called["args"] == ["-m", "experiments.autoencoder", *AS_FLAGS]
    assert [called["environment"][f"KEY{i}"] for i in range(len(AWKWARD))] == AWKWARD
    code = Path(called["environment"]["PYTHONPATH"])
    assert (code / "experiments/autoencoder.py").exists()
    assert called["environment"]["PWD"] == str(gcloud.parent / "home")
    assert not list(tmp_path.rglob("pwned"))


def test_dependencies_are_installed_there_when_asked(gcloud, tmp_path):
    python = standins.program(tmp_path, "python", "import json, sys\nopen(sys.argv[0] + '.args', 'a').write("
                              "json.dumps(sys.argv[1:]) + '\\n')")  # fmt: skip
    assert main([*BASE, "--install", "--python", str(python)]) == 0
    install, run = (json.loads(line) for line in Path(f"{python}.args").read_text().splitlines())
    assert install[:2] == ["-m", "pip"]
    assert install[-2] == "-e"
    assert (gcloud.parent / "home" / install[-1].removesuffix("[tpu]")).is_dir()
    assert (gcloud.parent / "home" / install[install.index("-c") + 1]).is_file()
    assert run == ["-m", "experiments.autoencoder"]


def test_the_first_call_that_fails_ends_it_with_its_code(tmp_path, monkeypatch):
    gcloud = standins.program(tmp_path / "bin", "gcloud")
    standins.answers(gcloud, 5, "no such zone")
    monkeypatch.setenv("PATH", standins.path_with(gcloud.parent))
    monkeypatch.chdir(tmp_path)
    assert main([*BASE, *MADE]) == 5
    assert [call["args"][3] for call in standins.calls(gcloud)] == ["create"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--create"], "needs --type and --runtime"),
        (["--spot"], "belong to --create"),
        (["--folder", "a:b"], "cannot hold ':'"),
        (["--python", "a\nb"], "--python"),
        (["--", "--dataset", "\udcff"], "is no UTF-8"),
        (["--", "--nosuch"], "no such flag"),
        (["--", "--steps", "abc"], "--steps: expected int, found 'abc'"),
    ],
)
def test_what_does_not_fit_is_refused_by_name_before_anything_is_made(args, said, gcloud, capsys):
    assert main([*BASE, *args]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not standins.calls(gcloud)


@pytest.mark.parametrize("args", [["--tpu", "A b"], ["--zone", "$(x)"], ["--env", "1=2"], ["--type", "a;b"]])
def test_options_that_no_cloud_takes_are_refused_by_name(args, capsys):
    with pytest.raises(SystemExit) as end:
        main([*BASE, *args])
    assert end.value.code == 2
    assert args[0] in capsys.readouterr().err
