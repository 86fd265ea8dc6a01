"""What the README shows, runs: each command as far as no cluster, no network and no long training is needed."""

import dataclasses
import importlib
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import jax
import jaxtyping
import numpy as np
import pytest
import tensorflow_datasets as tfds

import seqjax
from experiments.__main__ import main as experiments
from experiments.__main__ import names
from launch.__main__ import main as launch
from results import __main__ as results
from results import reproduce as again
from results.rows import ROWS
from seqjax.experiment import command as command_line
from seqjax.experiment import run, track
from seqjax.experiment.options import Options, check, parse
from seqjax.experiment.phases import check_phases
from seqjax.experiment.session import make_plan
from seqjax.receipt import interval_text, summary

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
PYTHON = [text for language, text in BLOCKS if language == "python"]
(OUTPUT, LAYOUT) = (text for language, text in BLOCKS if language == "text")
PROSE = re.sub(r"^```.*?^```$", "", README, flags=re.DOTALL | re.MULTILINE)
LINES = [line.partition("#")[0].strip() for language, text in BLOCKS if not language for line in text.splitlines()]
COMMANDS = [line for line in LINES if line]
GRID = re.search(r"`({\"grid\": .*?})`", README)[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ROW = next(row for row in ROWS if row.name == "linear_ae")
# of the same form, but embedded: a test takes nothing from the network
STANDINS = {"mnist": "digits", "jsb_chorales": "chords", "japanese_vowels": "events"}


@pytest.fixture
def unchecked():
    """As a reader runs it: the shape of an export is of symbols, which are no `int`."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def of(*beginnings: str) -> list[str]:
    found = [c for c in COMMANDS if c.startswith(tuple(f"{b} " for b in beginnings)) or c in beginnings]
    assert found, beginnings
    return found


MAKE = of("make")
LAUNCHES = of(".venv/bin/python -m launch")
RESULTS = of(".venv/bin/python -m results")
LISTING = of(".venv/bin/python -m experiments")
RUNS = [c for c in COMMANDS if c.startswith(".venv/bin/python -m experiments.")]


def test_every_block_is_executed_below():
    assert {language for language, _ in BLOCKS} == {"", "python", "text", "bibtex"}
    assert sorted(COMMANDS) == sorted([*MAKE, *LAUNCHES, *RESULTS, *LISTING, *RUNS])
    counts = {"python": len(PYTHON), "runs": len(RUNS), "launches": len(LAUNCHES), "results": len(RESULTS)}
    assert all(counts[kind] >= n for kind, n in {"python": 6, "runs": 20, "launches": 8, "results": 5}.items()), counts
    assert README.count("```") == 2 * len(BLOCKS)


# --- Python


@pytest.fixture(scope="module")
def trained(own_data):
    """A folder with runs where the README has some: of two steps, and of a text of the few characters it asks for."""
    folder = own_data
    (folder / "play.txt").write_text("ROMEO:\nBut, soft! what light through yonder window breaks?\n" * 200)
    with pytest.MonkeyPatch.context() as patch:
        # what a run leaves for an importer is all that counts here
        patch.setattr(command_line, "_draw", lambda *_: None)
        patch.setattr(command_line, "evaluated", lambda *_: {"own/error": summary([0.0])})
        patch.setattr(command_line, "_health", lambda *_: "ok")
        for place, (name, changes) in {
            "digits": ("autoencoder", {}),
            "play": ("character_model", {"dataset": str(folder / "play.txt")}),
            "rows": ("deep_clustering", {"dataset": str(folder / "path/to/own.csv"), "num_clusters": 3}),
            "series": ("sequence_clustering", {"dataset": str(folder / "path/to/own.ts"), "num_clusters": 3}),
        }.items():
            module = importlib.import_module(f"experiments.{name}")
            config = dataclasses.replace(module.Config(), **module.SMOKE | {"steps": 2, "chapter_steps": 1} | changes)
            run(config, module.build, Options(seeds=1, devices=1, run_dir=folder / "runs" / place))
    return folder


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_blocks_run(number, request, monkeypatch, tmp_path):
    loads = "seqjax.load(" in PYTHON[number]
    monkeypatch.chdir(request.getfixturevalue("trained") if loads else tmp_path)
    names = {}
    exec(compile(PYTHON[number], "README.md", "exec"), names)
    if "rows" in names:
        assert names["rows"].shape == (60, 4)
        assert len(names["run"].functions["encode"](names["series"]["x"])) == len(names["clusters"])
        assert set(names["clusters"]) <= {0, 1, 2}


# --- experiments


def numbers(path: Path, *, header: str, rows: int) -> None:
    values = np.random.default_rng(0).random((rows, header.count(",") + 1)).round(3)
    if header.endswith("label"):
        values[:, -1] = np.arange(rows) % 300 > 280
    np.savetxt(path, values, delimiter=",", header=header, comments="")


@pytest.fixture(scope="module")
def own_data(tmp_path_factory):
    """A folder with the files that the README's commands name, and one set that TFDS has prepared."""
    folder = tmp_path_factory.mktemp("own")
    place = folder / "path/to"
    place.mkdir(parents=True)
    np.savez(place / "own.npz", x=np.random.default_rng(0).normal(size=(60, 12)), label=np.arange(60) % 3)
    numbers(place / "own.csv", header="a,b,c,d,label", rows=60)
    numbers(place / "series.csv", header="a,b", rows=900)
    numbers(place / "faults.csv", header="a,b,label", rows=1500)
    (place / "own.txt").write_text("to be, or not to be: that is the question.\n" * 200)
    (place / "Name").mkdir()
    lines = [
        ",".join(map(str, np.sin(np.arange(12 + i) * (1 + i % 2)).round(3))) + f":{'ab'[i % 2]}" for i in range(24)
    ]
    header = "@univariate true\n@missing true\n@classLabel true a b\n@data\n"
    for name in ("own", "Name/Name_TRAIN", "Name/Name_TEST"):
        (place / f"{name}.ts").write_text(header + "\n".join(lines) + "\n")
    with tfds.core.registered.skip_registration():

        class Pictures(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                image = tfds.features.Tensor(shape=(4, 4, 1), dtype=np.uint8)
                return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({"image": image}))

            def _split_generators(self, dl_manager):
                return {"train": self._generate_examples(40), "test": self._generate_examples(10)}

            def _generate_examples(self, count):
                for i in range(count):
                    yield i, {"image": np.full((4, 4, 1), i, np.uint8)}

    Pictures(data_dir=folder / "tfds", file_format="array_record").download_and_prepare()
    return folder


@pytest.mark.parametrize("line", RUNS)
def test_runs_begin(line, own_data, monkeypatch, capsys):
    """Up to training: flags and data are read, baselines fitted, the model laid out and the plan held against it."""
    begun = []

    def beginning(config, build, options, **_):
        check(options)
        experiment = build(config)
        check_phases(experiment, make_plan(options))
        shapes = jax.eval_shape(experiment.phases[0].learner.init, jax.random.key(0))
        begun.append((config, options, jax.tree.leaves(shapes.params)))

    monkeypatch.setattr(command_line, "run", beginning)
    monkeypatch.setitem(track.PACKAGES, "wandb", "json")  # an extra, which the tests do not install
    monkeypatch.setattr(command_line, "say_plan", beginning)  # which tests/experiment/test_preview.py runs
    monkeypatch.setattr(command_line, "replay", lambda place, name, *_: begun.append((place, name, [0])) or True)
    monkeypatch.setattr(command_line, "keep_compiled_programs", lambda: None)
    monkeypatch.chdir(own_data)
    monkeypatch.setenv("TFDS_DATA_DIR", str(own_data / "tfds"))
    _, _, name, *arguments = shlex.split(line)
    module = importlib.import_module(name)
    given = [STANDINS.get(argument, argument) for argument in arguments]
    if "--devices" not in given:  # of which the tests have eight, which few batches divide over
        given += ["--devices", "1"]
    with pytest.raises(SystemExit) as end:
        command_line.main(module.Config, module.build, smoke=module.SMOKE, args=given)
    out, err = capsys.readouterr()
    assert end.value.code in (0, None), err
    if "--help" in arguments:
        assert "--code-size" in out
        return
    ((*_, leaves),) = begun
    assert leaves
    assert parse(module.Config, "", name, arguments) != (module.Config(), Options())


def test_what_make_demo_prints_is_what_its_row_of_the_table_holds():
    (row,) = [row for row in ROWS if row.name == "ae_digits_code10"]
    module = importlib.import_module("experiments.autoencoder")
    assert parse(module.Config, "", row.experiment, row.arguments)[0] == module.Config()
    receipt = json.loads((ROOT / f"results/receipts/{row.name}.json").read_text())
    for name in ("autoencoder", "pca", "mean"):
        shown = [value.strip() for value in re.search(rf"│ {name} +│([^│]+)│([^│]+)│", OUTPUT).groups()]
        measures = (receipt["metrics"][f"{name}/{measure}"] for measure in ("squared_error", "cross_entropy"))
        assert shown == [interval_text(measure) for measure in measures]


@pytest.mark.parametrize("line", LISTING)
def test_listings_and_names(line, capsys):
    arguments = shlex.split(line)[3:]
    if arguments[:1] == ["new"]:  # which tests/test_new_experiment.py runs
        assert arguments[1] not in names()
        return
    assert experiments(arguments) == 0
    assert "autoencoder" in capsys.readouterr().out


# --- elsewhere


@pytest.mark.parametrize("line", LAUNCHES)
def test_launches_say_what_they_would_do(line, tmp_path, monkeypatch, capsys):
    (tmp_path / "grid.json").write_text(GRID)
    monkeypatch.chdir(tmp_path)
    own, dashes, flags = line.partition(" -- ")
    if "status" in own:
        # of a sweep that was frozen, as all are before anything starts
        monkeypatch.setattr("launch.sweep._start", lambda *_: 0)
        folder = Path("runs/sweeps/vae-HASH")
        launch(["sweep", "vae", "--grid", "grid.json", "--folder", str(folder)])
        capsys.readouterr()
        assert launch(shlex.split(own)[3:]) == 0
        assert re.search("no runs below|waiting", capsys.readouterr().out)
        return
    _, _, _, *arguments = shlex.split(f"{own} --dry-run {dashes} {flags}")
    assert launch(arguments) == 0
    assert arguments[1] in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"grid.json"}


@pytest.mark.parametrize("line", RESULTS)
def test_results_are_made_checked_and_shown(line, tmp_path, monkeypatch, capsys):
    """On one row, whose stored receipt stands for the run."""
    receipt = ROOT / f"results/receipts/{ROW.name}.json"
    (tmp_path / "results/receipts").mkdir(parents=True)
    shutil.copy(receipt, tmp_path / "results/receipts")
    monkeypatch.chdir(tmp_path)

    def ended(arguments, cwd):
        place = Path(arguments[arguments.index("--run-dir") + 1])
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(receipt, place / "receipt.json")
        return 0

    monkeypatch.setattr(again, "foreground", ended)

    def command(arguments):
        return results.main(arguments, rows=[ROW], folder=tmp_path / "results", runs=tmp_path / "runs")

    if "--check" in line:
        assert command([]) == 0
    assert command(shlex.split(line)[3:]) == 0
    out = capsys.readouterr().out
    assert ROW.name in out or "--check" in line or (tmp_path / "report.html").exists()


@pytest.mark.parametrize("line", MAKE)
def test_make_knows_its_targets(line):
    done = subprocess.run([*shlex.split(line), "--dry-run"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ".venv" in done.stdout


@pytest.mark.parametrize("which", ["oldest", "newest"])
def test_a_python_that_make_drift_lacks_is_named_in_one_line(which):
    target = f".venv-{which}/test"
    # within `make test`, make says which folder it enters
    command = ["make", "--no-print-directory", "--always-make", target, f"{which.upper()}=python9.9"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout.count("\n") == 1
    assert "python9.9: is no Python" in done.stdout


# --- what is said in words


def test_version_and_extras_are_those_of_the_package():
    ((_, citation),) = [block for block in BLOCKS if block[0] == "bibtex"]
    assert re.search(r"version = {(.*?)}", citation)[1] == PROJECT["version"]
    assert f"## {PROJECT['version']} " in (ROOT / "CHANGELOG.md").read_text()
    assert seqjax.__version__ == PROJECT["version"]
    extras = re.findall(r"'\.\[(\w+)\]'", README)
    assert extras
    assert set(extras) <= PROJECT["optional-dependencies"].keys()


def test_what_is_laid_out_is_there():
    places = re.findall(r"[\w/]+(?:\.py|/)", LAYOUT)
    assert len(places) >= 15
    found = [ROOT / place if (ROOT / place).exists() else ROOT / "seqjax" / place for place in places]
    assert all(path.exists() for path in found), found


def test_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", PROSE) if "://" not in link]
    assert len(links) >= 4
    assert all((ROOT / link).exists() for link in links), links
    paths = re.findall(r"`((?:experiments|tests|results|seqjax|launch)/[\w./]*)`", README)
    assert all((ROOT / path).exists() for path in paths if "my_idea" not in path), paths


def test_the_picture_is_small():
    assert (ROOT / "results/overview.png").stat().st_size < 200_000
