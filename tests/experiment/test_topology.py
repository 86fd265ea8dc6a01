"""Runs on one and on many devices: the same values, the same bits where that is asked for, and the same run goes on."""

import dataclasses
import functools
import json
import subprocess
import sys
from pathlib import Path

import jax
import pytest
import toy
from commands import finished, process
from on_devices import assert_close

from experiments import autoencoder, character_model, deep_clustering, gan, pixel_mnist, vae
from seqjax import checkpoint, parallel
from seqjax.errors import Interrupted, UsageError
from seqjax.experiment import Options, run, rundir
from seqjax.experiment import state as runs
from seqjax.experiment.phases import train_phases
from seqjax.experiment.programs import make_programs
from seqjax.experiment.progress import silent
from seqjax.experiment.session import layout_of, make_plan, make_session
from seqjax.parallel import usable_cores

pytestmark = pytest.mark.usefixtures("quick_compilation")

SHORT = {"batch_size": 16, "steps": 20, "chapter_steps": 10}
CONFIGS = {
    autoencoder: autoencoder.Config(hidden=(8,), code_size=4, **SHORT),
    vae: vae.Config(hidden=(8,), latent_size=3, **SHORT),
    gan: gan.Config(generator_hidden=(8,), critic_hidden=(8,), latent_size=4, critic_steps=2, **SHORT),
    pixel_mnist: pixel_mnist.Config(cell="lstm", hidden_size=8, **SHORT),
    # its carry lies with the rows of a batch; its masks with their examples
    character_model: character_model.Config(hidden_size=8, length=8, dropout=0.2, **SHORT),
    deep_clustering: deep_clustering.Config(
        hidden=(8,), code_size=4, cluster_steps=20, refresh_every=10, tolerance=0.0, restarts=2, **SHORT
    ),
}


@functools.cache
def built(module):
    return module.build(CONFIGS[module])


def trained(module, folder, **options):
    plan = make_plan(Options(**{"seeds": 1} | options))
    folder.mkdir(parents=True, exist_ok=True)
    session = make_session(built(module), plan, folder, reporter=silent)
    return train_phases(session, runs.restore_or_start(session))


@pytest.fixture(scope="module")
def on_one_device(tmp_path_factory):
    return functools.cache(lambda module: trained(module, tmp_path_factory.mktemp("one"), devices=1))


@pytest.mark.parametrize("driver", ["pmap", "shard_map", "jit"])
@pytest.mark.parametrize("module", CONFIGS, ids=lambda module: module.__name__.split(".")[-1])
def test_eight_devices_equal_one(tmp_path, on_one_device, module, driver):
    one, many = on_one_device(module), trained(module, tmp_path, devices=8, driver=driver)
    assert_close((many.states.params, many.states.extra), (one.states.params, one.states.extra))
    assert_close(many.best_score, one.best_score, 1e-4)


@pytest.mark.parametrize("module", CONFIGS, ids=lambda module: module.__name__.split(".")[-1])
def test_the_reproducible_mode_has_the_same_bits_on_any_number_of_devices(tmp_path, on_one_device, module):
    found = [trained(module, tmp_path / str(n), devices=n, reproducible=True) for n in (1, 2, 4, 8)]
    assert len({checkpoint.tree_sha256(each) for each in found}) == 1
    assert_close(found[0].states.params, on_one_device(module).states.params)


def toy_run(tmp_path, **options):
    options = {"seeds": 2, "devices": 1, "run_dir": tmp_path / "run"} | options
    return run(toy.Config(), toy.build, Options(**options))


def test_a_run_goes_on_on_other_devices_to_the_same_bits_where_reproducible(tmp_path, monkeypatch):
    whole = toy_run(tmp_path, run_dir=tmp_path / "whole", reproducible=True)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    experiment, plan = toy.build(toy.Config()), make_plan(Options(seeds=2, devices=8, reproducible=True))
    description = rundir.described("toy", toy.Config(), plan._asdict())
    rundir.claim(run_dir, description | {"data_sha256": experiment.data.sha256})
    session = make_session(experiment, plan, run_dir, stop_requested=lambda: True)
    with pytest.raises(Interrupted):
        train_phases(session, runs.restore_or_start(session))
    continued = toy_run(tmp_path, devices=4, driver="pmap", reproducible=True)
    assert continued["state_sha256"] == whole["state_sha256"]
    assert continued["plan"]["devices"] == 4
    assert [each["devices"] for each in continued["earlier"]] == [8]
    assert "earlier" not in whole
    # found again from anywhere, and what is in the way of being the same run is still refused
    assert toy_run(tmp_path, reproducible=True)["state_sha256"] == whole["state_sha256"]
    with pytest.raises(UsageError, match=r"plan\.reproducible is True there and False here"):
        toy_run(tmp_path)


def test_seeds_share_a_device_as_when_the_run_began(tmp_path):
    """On the devices of another platform too, where they would start otherwise: it changes the last bits."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    plan = make_plan(Options(seeds=2, devices=1))._replace(seed_plan="vmap", platform="gpu")
    description = rundir.described("toy", toy.Config(), plan._asdict())
    rundir.claim(run_dir, description | {"data_sha256": toy.build(toy.Config()).data.sha256})
    receipt = toy_run(tmp_path)
    assert (receipt["plan"]["seed_plan"], receipt["plan"]["platform"]) == ("vmap", "cpu")
    assert [each["platform"] for each in receipt["earlier"]] == ["gpu"]


def test_the_same_command_finds_the_same_run_on_other_devices():
    config = toy.Config()
    found = {
        rundir.default_run_dir(rundir.described("toy", config, make_plan(Options(devices=n))._asdict()))
        for n in (1, 2, 8)
    }
    assert len(found) == 1


def test_five_seeds_on_two_devices_are_five_seeds(tmp_path):
    one = toy_run(tmp_path, run_dir=tmp_path / "one", seeds=5)
    two = toy_run(tmp_path, seeds=5, devices=2)
    assert two["plan"]["seed_devices"] == 2
    assert two["state_sha256"] == one["state_sha256"]
    assert two["metrics"] == one["metrics"]
    assert len(two["metrics"]["line/error"]["per_seed"]) == 5
    assert rundir.read_metrics(tmp_path / "run") == rundir.read_metrics(tmp_path / "one")


def test_streamed_batches_reach_their_own_devices(tmp_path):
    whole = toy_run(tmp_path, run_dir=tmp_path / "whole")
    for driver, devices in (("shard_map", 8), ("jit", 8), ("pmap", 8), ("pmap", 2)):
        found = toy_run(tmp_path, run_dir=tmp_path / f"{driver}{devices}", devices=devices, driver=driver, stream=True)
        assert found["metrics"]["line/error"]["mean"] == pytest.approx(whole["metrics"]["line/error"]["mean"], rel=1e-4)


def test_copies_of_the_data_on_the_devices_of_a_cpu_count_against_its_one_memory(tmp_path, monkeypatch):
    experiment = toy.build(toy.Config())
    splits = (experiment.data.train, experiment.data.validation, experiment.data.test)
    size = sum(field.nbytes for split in splits for field in split.fields.values())
    monkeypatch.setattr("seqjax.experiment.programs.RESIDENT_BYTES", 2 * size)
    for devices in (1, 2, 4):
        session = make_session(experiment, make_plan(Options(seeds=4, devices=devices)), tmp_path)
        assert make_programs(session, experiment.phases[0]).source.streamed == (devices > 2)


def test_seeds_alone_on_the_devices_of_a_cpu_share_no_rows_of_an_evaluation():
    for seeds, shared in ((2, False), (1, True)):
        with parallel.sharing_rows(layout_of(make_plan(Options(seeds=seeds, devices=2))), own=True):
            assert jax.sharding.get_abstract_mesh().empty != shared


def test_seeds_take_the_cores_of_a_cpu_unless_a_driver_is_named_that_cannot_keep_their_bits(monkeypatch):
    monkeypatch.delenv("JAX_NUM_CPU_DEVICES", raising=False)
    for flags, devices in (([], min(2, usable_cores())), (["--driver", "jit"], 1)):
        code, out, err = finished(process("linear_autoencoder", "--plan", "--smoke", "--seeds", 2, *flags))
        assert code == 0, err
        assert f"2 seed(s) by map, on {devices} cpu device(s) of 1 process(es)" in out


def test_unequal_batches_are_refused_in_one_line(tmp_path):
    with pytest.raises(UsageError, match=r"a batch of 16 does not divide over 3 devices\.\nAsk for a --batch-size"):
        toy_run(tmp_path, seeds=1, devices=3)
    small = dataclasses.replace(CONFIGS[autoencoder], batch_size=12)
    with pytest.raises(UsageError, match="a batch of 12 does not divide over 8 virtual shards of --reproducible"):
        run(small, autoencoder.build, Options(seeds=1, devices=1, run_dir=tmp_path / "run", reproducible=True))


@pytest.mark.long
def test_eight_devices_equal_one_after_three_hundred_steps_in_float64():
    program = Path(__file__).parent / "in_float64.py"
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == len(CONFIGS)
    for name, of_driver in found.items():
        assert all(value <= 1e-5 for value in of_driver.values()), (name, of_driver)
