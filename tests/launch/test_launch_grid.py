import dataclasses
import importlib
import json

import pytest
from standins import AWKWARD

from experiments.__main__ import names
from launch.fields import canonical, fields_of, flags_of
from launch.flags import run_dir_of, values_of
from launch.grid import members_of
from seqjax.errors import UsageError
from seqjax.experiment.options import Options, parse


def grid(tmp_path, content) -> str:
    path = tmp_path / "grid.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def configs(members):
    module = importlib.import_module("experiments.autoencoder")
    return [parse(module.Config, "", "autoencoder", member.flags) for member in members]


def test_a_grid_is_every_combination_the_last_field_fastest(tmp_path):
    found = members_of("autoencoder", grid(tmp_path, {"grid": {"beta": [0, 1], "hidden": [[8], [8, 4]]}}), ["--smoke"])
    assert [(m.number, m.flags) for m in found.members] == [
        (1, ["--smoke", "--beta=0.0", "--hidden", "8"]),
        (2, ["--smoke", "--beta=0.0", "--hidden", "8", "4"]),
        (3, ["--smoke", "--beta=1.0", "--hidden", "8"]),
        (4, ["--smoke", "--beta=1.0", "--hidden", "8", "4"]),
    ]
    assert found.duplicates == 0
    assert [m.run_dir for m in found.members] == [f"runs/{m.number:04d}-{m.hash}" for m in found.members]


def test_the_experiment_reads_what_the_file_says(tmp_path):
    choices = [
        {"dataset": value, "tied": True, "hidden": [], "learning_rate": 1e-05, "seeds": 2, "patience": None}
        for value in [*AWKWARD, "-x", "--smoke", "[1, 2]"]
    ]
    found = members_of("autoencoder", grid(tmp_path, {"list": choices}), [])
    for choice, (config, options) in zip(choices, configs(found.members), strict=True):
        read = dataclasses.asdict(config) | dataclasses.asdict(options)
        assert {field: read[field] for field in choice} == choice | {"hidden": ()}


@pytest.mark.parametrize(
    "choices",
    [
        [{"beta": 1}, {"beta": 1.0}],
        [{}, {"beta": 0.0}, {"hidden": [256, 128]}, {"dataset": "digits", "patience": None}, {"seed": 0}],
        [{"beta": 1, "tied": True}, {"tied": True, "beta": 1}],
        [{"patience": None, "beta": 1.0}, {"patience": "None", "beta": 1.0}],
    ],
)
def test_one_configuration_is_one_member_however_it_is_written(choices, tmp_path):
    found = members_of("autoencoder", grid(tmp_path, {"list": choices}), [])
    assert (len(found.members), found.duplicates) == (1, len(choices) - 1)


def test_other_configurations_are_other_members(tmp_path):
    choices = [{"beta": 1}, {"alpha": 2}, {"tied": True}, {"hidden": [2, 1]}, {"hidden": [21]}, {"dataset": "a"}]
    found = members_of("autoencoder", grid(tmp_path, {"list": choices}), [])
    assert len({member.hash for member in found.members}) == len(choices)


def test_the_flags_of_all_are_part_of_the_hash(tmp_path):
    path = grid(tmp_path, {"grid": {"beta": [1]}})
    assert members_of("autoencoder", path, [])[0][0].hash != members_of("autoencoder", path, ["--smoke"])[0][0].hash


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is no JSON"),
        ("{", "is no JSON"),
        ('{"grid": {"beta": [NaN]}}', "NaN is no number"),
        ('{"grid": {"beta": [1], "beta": [2]}}', "'beta' is there twice"),
        ("[" * 100_000, "is no JSON"),
        ("\udcff", "is no JSON"),
        ([], "is no grid"),
        ({"beta": [1]}, "is no grid"),
        ({"grid": {"beta": 1}}, "is no grid"),
        ({"grid": {"beta": [1]}, "list": []}, "is no grid"),
        ({"list": [1]}, "is no grid"),
        ({"grid": {}}, "the grid is empty"),
        ({"grid": {"beta": []}}, "beta is empty"),
        ({"list": []}, "a list of 0"),
        ({"grid": {"seed": list(range(1000)), "seeds": list(range(1000))}}, "a grid of 1000000"),
        ({"grid": {"bta": [1]}}, "bta: no such field"),
        ({"grid": {"beta": ["x"]}}, "beta='x': expected float"),
        ({"grid": {"beta": [True]}}, "beta=True: expected float"),
        ({"grid": {"steps": [1.5]}}, "steps=1.5: expected int"),
        ({"grid": {"hidden": [8]}}, "hidden=8: expected tuple"),
        ({"grid": {"hidden": [["x"]]}}, "expected tuple"),
        ({"grid": {"output": ["tanh"]}}, "output='tanh': expected Literal"),
        ({"grid": {"activation": [1]}}, "activation=1: expected Literal['relu',"),
        ({"grid": {"driver": ["nosuch"]}}, "driver='nosuch': expected Literal['auto',"),
        ({"grid": {"dataset": ["a\0b"]}}, "no command line can carry"),
        ({"grid": {"dataset": ["\ud800"]}}, "no command line can carry"),
        ({"grid": {"dataset": ["digits", "x" * 200_000]}}, "dataset='xxxxxxxxxxxxxxxxxxxx'...: has 200000 bytes"),
        ({"grid": {"dataset": ["é" * 60_000]}}, "has 120000 bytes, expected at most 100000"),
        ({"grid": {"run_dir": ["x"]}}, "run_dir: each member has its own"),
        ({"grid": {"alpha": [1]}}, "alpha: is also among the flags"),
    ],
)
def test_a_file_that_is_no_grid_of_this_experiment_is_refused_by_name(content, said, tmp_path):
    path = tmp_path / "grid.json"
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UsageError) as error:
        members_of("autoencoder", path, ["--alpha=2"])
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert str(error.value).count("\n") == 0


@pytest.mark.parametrize("flags", [["--run-dir", "x"], ["--run_dir=x"], ["--nosuch"], ["--no-nosuch=1"]])
def test_flags_that_no_member_may_have_are_refused(flags, tmp_path):
    with pytest.raises(UsageError, match=r"^--"):
        members_of("autoencoder", grid(tmp_path, {"grid": {"beta": [1]}}), flags)


# of each kind of field one, and how its experiment's own parser reads these
KINDS = [
    ("autoencoder", "steps", ["5", "1_000", " 5", "5.0", "-1", "abc", "", "None"]),
    ("autoencoder", "learning_rate", ["1e-3", "-1e-3", "-inf", "1", "x"]),
    ("autoencoder", "patience", ["5", "None", "none"]),
    ("autoencoder", "dataset", ["", "a b", "-5", "-x", "-", "--smoke", "None"]),
    ("autoencoder", "run_dir", ["", "a//b", "None"]),
    ("autoencoder", "tied", ["True", "maybe"]),
    ("autoencoder", "driver", ["jit", "JIT", "nosuch"]),
    ("autoencoder", "failed_save", ["go_on", "go-on"]),
    ("autoencoder", "hidden", ["8", "8,4", "None", "-2"]),
    ("vae", "stddev", ["0.5", "shared", "nosuch"]),
    ("pca_features", "features", ["raw", "nosuch"]),
    ("hidden_size", "candidates", ["8.5", "None"]),
]


@pytest.mark.parametrize(("name", "field", "words"), KINDS, ids=lambda part: part if isinstance(part, str) else "")
def test_flags_are_read_as_the_experiment_reads_them(name, field, words):
    module, known, flag = importlib.import_module(f"experiments.{name}"), fields_of(name), f"--{field}"

    def parsed(flags: list[str]) -> dict | None:
        try:
            config, options = parse(module.Config, "", name, flags)
        except UsageError:
            return None
        return json.loads(json.dumps(dataclasses.asdict(config) | dataclasses.asdict(options), default=str))

    default = parsed([])
    spelled = [part for word in words for part in ([flag, word], [f"{flag}={word}"])]
    for flags in (
        *spelled,
        [flag],
        [flag, *words],
        [f"--no-{flag[2:]}"],
        [flag, words[0], "--"],
        [flag, "--", words[0]],
    ):
        expected = parsed(flags)
        if expected is None:
            with pytest.raises(UsageError, match=r"\A(--|').*\Z"):
                values_of(known, flags)
        else:
            assert default | values_of(known, flags) == expected, flags


def test_flags_are_known_however_they_are_spelled():
    known = fields_of("autoencoder")
    found = values_of(known, ["--no-tied", "--batch_size=3", "--hidden", "1", "-2", "--seed", "1", "--seed=2", "--"])
    assert found == {"tied": False, "batch_size": 3, "hidden": [1, -2], "seed": 2}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["--steps", "5"], ["--steps=5"]),
        (["--steps", "5", "--seed", "1"], ["--seed=1", "--steps=5"]),
        (["--batch_size=3"], ["--batch-size", "3"]),
        (["--alpha", "2"], ["--alpha", "1", "--alpha", "2.0"]),
    ],
)
def test_the_flags_of_all_are_the_same_however_they_are_spelled(one, other, tmp_path):
    path = grid(tmp_path, {"grid": {"beta": [1, 2]}})
    assert members_of("autoencoder", path, one) == members_of("autoencoder", path, other)


def test_the_environment_of_all_is_part_of_the_hash(tmp_path):
    path = grid(tmp_path, {"grid": {"beta": [1]}})
    settings = [[], [("A", "1")], [("A", "2")], [("A", "1"), ("B", "2")]]
    assert len({members_of("autoencoder", path, [], one).members[0].hash for one in settings}) == len(settings)
    again = [("B", "2"), ("A", "0"), ("A", "1")]
    assert members_of("autoencoder", path, [], settings[-1]) == members_of("autoencoder", path, [], again)


def test_what_is_the_default_is_none_beside_smoke(tmp_path):
    path = grid(tmp_path, {"list": [{}, {"steps": 4000}]})
    assert members_of("autoencoder", path, []).duplicates == 1
    assert members_of("autoencoder", path, ["--smoke"]).duplicates == 0


@pytest.mark.parametrize(
    ("flags", "run_dir"),
    [
        ([], None),
        (["--seed", "1"], None),
        (["--run-dir"], None),
        (["--run-dir="], None),
        (["--run-dir", "a b"], "a b"),
        (["--run_dir=a=b", "--smoke"], "a=b"),
        (["--run-dir", "a", "--run-dir=b"], "b"),
    ],
)
def test_the_run_directory_is_the_last_that_flags_name(flags, run_dir):
    assert run_dir_of(flags) == run_dir


def test_a_value_that_a_flag_could_not_hold_among_several_is_refused():
    with pytest.raises(UsageError, match="begins with '-'"):
        flags_of({"features": ["raw", "--smoke"]})
    assert flags_of({"sizes": [-1, -2.5]}) == ["--sizes", "-1", "-2.5"]


@pytest.mark.parametrize("name", names())
def test_the_fields_read_from_the_source_are_those_of_the_class(name):
    """And each default is a value that its field takes, so that no reported run is refused."""
    module = importlib.import_module(f"experiments.{name}")
    known = fields_of(name)
    fields = [*dataclasses.fields(module.Config), *dataclasses.fields(Options)]
    assert set(known) == {field.name for field in fields}
    for field in fields:
        value = json.loads(json.dumps(field.default, default=str))
        assert canonical(known, field.name, value) == value
        assert known[field.name].default == value
