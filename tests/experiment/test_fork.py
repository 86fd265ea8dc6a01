"""A new run that begins with another one's checkpoint, and what is said when a run goes on with other code."""

import pytest
import toy

from seqjax import checkpoint
from seqjax.errors import CheckpointError, Interrupted, UsageError
from seqjax.experiment import Options, phases, run, rundir, state
from seqjax.experiment.session import make_plan, make_session

SHORT = toy.Config(steps=20, second_steps=0)
LONG = toy.Config(steps=40, second_steps=0)


def options(run_dir, **more):
    return Options(seeds=2, devices=1, run_dir=run_dir, **more)


def test_a_fork_goes_on_as_the_longer_run_would_and_leaves_the_first_alone(tmp_path, capsys):
    whole = run(LONG, toy.build, options(tmp_path / "whole"))
    run(SHORT, toy.build, options(tmp_path / "short"))
    before = {path: path.read_bytes() for path in (tmp_path / "short").rglob("*") if path.is_file()}
    forked = run(LONG, toy.build, options(tmp_path / "long", fork=tmp_path / "short"))
    assert f"begins with {tmp_path / 'short'} at phase fit, step 20" in capsys.readouterr().out
    assert forked["state_sha256"] == whole["state_sha256"]
    assert forked["fork"] == str(tmp_path / "short")
    assert rundir.read_metrics(tmp_path / "long") == rundir.read_metrics(tmp_path / "whole")
    assert {path: path.read_bytes() for path in before} == before


def test_a_fork_that_is_stopped_is_continued_and_needs_its_first_run_no_more(tmp_path):
    experiment, plan = toy.build(LONG), make_plan(Options(seeds=2, devices=1))
    run(SHORT, toy.build, options(tmp_path / "short"))
    (tmp_path / "long").mkdir()

    def trained(**more):
        session = make_session(experiment, plan, tmp_path / "long", origin=tmp_path / "short", **more)
        return phases.train_phases(session, state.restore_or_start(session))

    with pytest.raises(Interrupted, match="at step 30"):
        trained(stop_requested=lambda: True)
    (tmp_path / "short").rename(tmp_path / "gone")
    final = trained()
    whole = run(LONG, toy.build, options(tmp_path / "whole"))
    assert checkpoint.tree_sha256(final) == whole["state_sha256"]


def test_a_fork_has_a_directory_of_its_own(tmp_path):
    description = rundir.described("toy", SHORT, {})
    assert rundir.default_run_dir(description) != rundir.default_run_dir(description | {"fork": "a"})
    run(SHORT, toy.build, options(tmp_path / "run"))
    with pytest.raises(UsageError, match="is the new run itself"):
        run(SHORT, toy.build, options(tmp_path / "run", fork=tmp_path / "run"))
    run(LONG, toy.build, options(tmp_path / "forked", fork=tmp_path / "run"))
    with pytest.raises(UsageError, match=r"fork is '.*' there and None here"):
        run(LONG, toy.build, options(tmp_path / "forked"))


def test_what_cannot_be_forked_is_refused(tmp_path):
    with pytest.raises(UsageError, match="nowhere: no such directory"):
        run(SHORT, toy.build, options(tmp_path / "a", fork=tmp_path / "nowhere"))
    run(SHORT, toy.build, Options(seeds=1, devices=1, run_dir=tmp_path / "one seed"))
    refused = [
        ({"fork": tmp_path / "one seed"}, SHORT, "seeds is 1 there and 2 here"),
        ({"fork": tmp_path / "two", "seed": 7}, SHORT, "seed is 0 there and 7 here"),
        ({"fork": tmp_path / "two"}, toy.Config(steps=10, second_steps=0), "step 20 of phase fit, which has 10 here"),
    ]
    run(SHORT, toy.build, options(tmp_path / "two"))
    for more, config, words in refused:
        with pytest.raises(UsageError, match=words):
            run(config, toy.build, options(tmp_path / "b", **more))
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "config.json").write_text((tmp_path / "two" / "config.json").read_text())
    with pytest.raises(CheckpointError, match="holds no checkpoint yet"):
        run(SHORT, toy.build, options(tmp_path / "b", fork=empty))
    # the new run's directory has not been begun: the right command still may
    assert not (tmp_path / "b").exists()
    assert not (tmp_path / "a").exists()


def test_other_code_and_versions_are_said_and_the_run_goes_on(tmp_path, capsys):
    experiment, plan = toy.build(LONG), make_plan(Options(seeds=1, devices=1))

    def trained(made_by, stop):
        session = make_session(experiment, plan, tmp_path, made_by=made_by, stop_requested=lambda: stop)
        return phases.train_phases(session, state.restore_or_start(session))

    old = {"code_sha256": "a", "versions": {"jax": "1", "flax": "2"}}
    with pytest.raises(Interrupted):
        trained(old, True)
    with pytest.raises(Interrupted):
        trained(old, True)
    assert "continues with" not in capsys.readouterr().out
    trained({"code_sha256": "b", "versions": {"jax": "1", "flax": "3", "more": "1"}}, False)
    out = capsys.readouterr().out
    assert "continues with other code than made the checkpoint" in out
    assert "continues with flax 3, which was 2\n" in out
    assert out.count("continues with") == 2
