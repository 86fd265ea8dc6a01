import jax
import jax.numpy as jnp
import numpy as np
import optax
import problems
import pytest

from seqjax import losses, train
from seqjax.errors import UsageError
from seqjax.train.learner import all_finite
from seqjax.train.optimizer import UniformlyFinite
from seqjax.types import Batch

SPLIT = problems.split()


def whole_batch(rows=slice(None)) -> Batch:
    fields = {name: field[rows] for name, field in SPLIT.fields.items()}
    return fields | {"index": jnp.arange(problems.ROWS, dtype=jnp.int32)[rows]}


def quiet_loss(params, batch, key, state):
    return losses.squared_error(problems.predictions(params, batch["x"]), batch["y"]), train.Aux({})


def learner(optimizer=None, loss=problems.loss, **options):
    return train.minimise(loss, problems.init, optimizer or optax.adam(0.05), **options)


def stacked_states(one, seeds):
    return jax.lax.map(one.init, jnp.stack([jax.random.key(seed) for seed in seeds]))


@pytest.mark.parametrize("method", ["adam", "adamw", "sgd", "rmsprop"])
@pytest.mark.parametrize("kind", ["constant", "cosine"])
def test_every_optimiser_and_schedule_converges_to_the_closed_form(method, kind):
    rate = {"adam": 0.05, "adamw": 0.05, "sgd": 0.02, "rmsprop": 0.005}[method]
    one = learner(
        train.optimizer(method, train.schedule(kind, rate, steps=600, warmup_steps=20), clip_norm=10.0),
        loss=quiet_loss,
    )
    state = one.init(jax.random.key(0))
    state, metrics = jax.jit(lambda s: jax.lax.scan(lambda s, _: one.step(s, whole_batch()), s, None, length=600))(
        state
    )
    expected = problems.solution(SPLIT)
    np.testing.assert_allclose(state.params["w"], expected[:-1], atol=0.02)
    np.testing.assert_allclose(state.params["b"], expected[-1], atol=0.02)
    assert metrics["loss"][-1] < metrics["loss"][0]


def test_schedules_by_hand():
    cosine = train.schedule("cosine", 2.0, steps=100, warmup_steps=10)
    assert [float(cosine(s)) for s in (0, 5, 10, 55, 100)] == pytest.approx([0.0, 1.0, 2.0, 1.0, 0.0], abs=1e-6)
    constant = train.schedule("constant", 2.0, steps=100, warmup_steps=4)
    assert [float(constant(s)) for s in (0, 2, 4, 99)] == pytest.approx([0.0, 1.0, 2.0, 2.0])
    assert train.schedule("constant", 2.0, steps=100) == 2.0
    assert float(train.schedule("cosine", 2.0, steps=100)(50)) == pytest.approx(1.0)
    staged = train.schedule("staged", 2.0, steps=9, epoch_steps=1.0, warmup_steps=4)
    assert [float(staged(s)) for s in (0, 2, 4, 3284)] == pytest.approx([0.0, 1.0, 2.0, 0.2])


def test_stages_of_the_protocol_are_those_of_the_paper():
    # one pass a step: 3^i passes at each rate
    rates = np.asarray(jax.vmap(train.schedule("staged", 1e-3, steps=9, epoch_steps=1.0))(jnp.arange(3300)))
    ends = np.cumsum([3**i for i in range(8)])
    assert ends[-1] == 3280
    expected = [1e-3, 7.2e-4, 5.2e-4, 3.7e-4, 2.7e-4, 1.9e-4, 1.4e-4, 1e-4]
    for start, end, rate in zip([0, *ends[:-1]], ends, expected, strict=True):
        assert np.unique(rates[start:end]).size == 1
        assert rates[start] == pytest.approx(rate, rel=0.02)
    assert (rates[3280:] == rates[3279]).all()


def test_stages_go_by_passes_over_the_data():
    rates = np.asarray(jax.vmap(train.schedule("staged", 1e-2, steps=9, epoch_steps=2.5))(jnp.arange(40)))
    assert np.flatnonzero(np.diff(rates)).tolist() == [1, 9, 31]  # after 2.5, 10 and 32.5 steps, rounded
    with pytest.raises(UsageError, match="epoch_steps=None"):
        train.schedule("staged", 1e-2, steps=9)
    with pytest.raises(UsageError, match="epoch_steps=0"):
        train.schedule("staged", 1e-2, steps=9, epoch_steps=0.0)


def test_clipping_bounds_the_update():
    one = learner(train.optimizer("sgd", 1.0, momentum=0.0, clip_norm=1e-3), loss=quiet_loss)
    state = one.init(jax.random.key(0))
    after, metrics = one.step(state, whole_batch())
    moved = optax.tree.norm(jax.tree.map(jnp.subtract, after.params, state.params))
    assert metrics["gradient_norm"] > 1
    assert float(moved) == pytest.approx(1e-3, rel=1e-3)


def test_step_reports_means_and_the_true_gradient_norm():
    one = learner()
    state = one.init(jax.random.key(0))
    _, metrics = one.step(state, whole_batch())
    key = jax.random.fold_in(state.key, 0)
    values, aux = problems.loss(state.params, whole_batch(), key, state)
    grads = jax.grad(lambda p: problems.loss(p, whole_batch(), key, state)[0].mean())(state.params)
    assert float(metrics["loss"]) == pytest.approx(float(values.mean()))
    assert float(metrics["fit"]) == pytest.approx(float(aux.terms["fit"].mean()))
    assert float(metrics["gradient_norm"]) == pytest.approx(float(optax.tree.norm(grads)))


def test_four_parts_of_64_equal_one_batch_of_256():
    """In float64, where the sums differ by rounding far below the 1e-6 that are asked for."""
    with jax.enable_x64(True):
        rows = np.random.default_rng(0).normal(size=(256, problems.FEATURES + problems.TARGETS))
        batch = {"x": jnp.asarray(rows[:, : problems.FEATURES]), "y": jnp.asarray(rows[:, problems.FEATURES :])}
        batch["index"] = jnp.arange(256, dtype=jnp.int32)
        plain, parted = (learner(optax.sgd(1.0), accumulate=parts) for parts in (1, 4))
        state = plain.init(jax.random.key(0))
        whole, pieces = plain.step(state, batch)[0], parted.step(state, batch)[0]
        for name in ("w", "b"):
            gradient = np.asarray(state.params[name] - whole.params[name])
            np.testing.assert_allclose(state.params[name] - pieces.params[name], gradient, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_gradient_equals_the_whole_batch(parts):
    state = learner().init(jax.random.key(0))
    whole, whole_metrics = learner(optax.sgd(1.0)).step(
        state._replace(opt_state=optax.sgd(1.0).init(state.params)), whole_batch()
    )
    pieces = learner(optax.sgd(1.0), accumulate=parts)
    split, metrics = pieces.step(state._replace(opt_state=optax.sgd(1.0).init(state.params)), whole_batch())
    for a, b in zip(jax.tree.leaves(split.params), jax.tree.leaves(whole.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    assert float(metrics["loss"]) == pytest.approx(float(whole_metrics["loss"]), rel=1e-6)


def test_accumulation_refuses_what_it_cannot_do():
    with pytest.raises(UsageError, match="96 does not divide into accumulate=5"):
        learner(accumulate=5).step(learner().init(jax.random.key(0)), whole_batch())

    def stateful(params, batch, key, state):
        return quiet_loss(params, batch, key, state)[0], train.Aux({}, {"carry": jnp.zeros(1)})

    with pytest.raises(UsageError, match="carry"):
        learner(loss=stateful, accumulate=2).step(learner().init(jax.random.key(0)), whole_batch())


def test_moving_average_follows_the_recursion():
    one = learner(ema_decay=0.9)
    state = one.init(jax.random.key(0))
    average = np.asarray(state.params["w"])
    for _ in range(5):
        state, _ = one.step(state, whole_batch())
        average = 0.9 * average + 0.1 * np.asarray(state.params["w"])
    np.testing.assert_allclose(state.extra["ema"]["w"], average, rtol=1e-5)
    np.testing.assert_array_equal(train.averaged(state).params["w"], state.extra["ema"]["w"])
    plain = learner().init(jax.random.key(0))
    assert train.averaged(plain).params is plain.params


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_one_value_that_is_not_finite_is_found_wherever_it_stands(value, dtype):
    found = jax.jit(all_finite)
    for size in (1, 7, 1000):
        tree = {"count": jnp.int32(-3), "none": jnp.zeros((0, 2)), "values": jnp.linspace(-1e30, 2, size, dtype=dtype)}
        assert found(tree)
        for place in (0, size // 2, size - 1):
            assert not found(tree | {"values": tree["values"].at[place].set(value)})
    assert all_finite({})


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted():
    one = learner(ema_decay=0.9)
    step = train.make_train_step(one)
    state, _ = step(one.init(jax.random.key(0)), whole_batch())
    before = jax.tree.map(np.asarray, state._replace(key=None))
    bad = whole_batch()
    bad["y"] = bad["y"].at[3, 1].set(jnp.nan)
    state, _ = step(state, bad)
    for name in ("params", "opt_state"):
        jax.tree.map(np.testing.assert_array_equal, getattr(state, name), getattr(before, name))
    np.testing.assert_array_equal(state.extra["ema"]["w"], before.extra["ema"]["w"])
    assert int(state.step) == 2
    assert {k: int(v) for k, v in state.extra["skipped"].items()} == {"total": 1, "in_a_row": 1, "longest": 1}
    state, _ = step(state, whole_batch())
    assert {k: int(v) for k, v in state.extra["skipped"].items()} == {"total": 1, "in_a_row": 0, "longest": 1}


@pytest.mark.parametrize("rate", [np.inf, np.nan])
@pytest.mark.parametrize("method", ["any other", "adam", "adamw", "sgd", "rmsprop"])
def test_an_update_that_is_not_finite_is_not_made_and_is_counted(method, rate):
    one = learner(optimizer=optax.scale(rate) if method == "any other" else train.optimizer(method, rate))
    state = one.init(jax.random.key(0))
    step = jax.jit(one.step, static_argnames="guarded")
    after, metrics = step(state, whole_batch())
    assert np.isfinite(metrics["gradient_norm"])
    np.testing.assert_array_equal(after.params["w"], state.params["w"])
    assert int(after.extra["skipped"]["total"]) == 1
    made, _ = step(state, whole_batch(), guarded=False)
    assert not np.isfinite(made.params["w"]).any()


def test_one_array_tells_whether_the_update_of_the_usual_optimisers_is_finite():
    params = {"large": jnp.ones((3, 4)), "small": jnp.ones(2), "none": jnp.zeros(0)}
    large = jnp.outer(jnp.array([1.0, -1.0, 0.0]), jnp.array([0.0, 1e-38, 1.0, 1e19]))
    for method in ("adam", "adamw", "rmsprop"):
        for rate in (1e-3, 1e30, np.inf, -np.inf, np.nan):
            for small in (0.0, 1e19):
                optimizer = train.optimizer(method, float(rate), clip_norm=1.0 if small else None)
                assert isinstance(optimizer, UniformlyFinite)
                state = optimizer.init(params)
                for _ in range(3):
                    grads = {"large": large, "small": jnp.full(2, small), "none": jnp.zeros(0)}
                    updates, state = optimizer.update(grads, state, params)
                    found = {bool(value) for update in jax.tree.leaves(updates) for value in np.isfinite(update).flat}
                    assert found == {bool(np.isfinite(rate))}, (method, rate, small)
    assert not isinstance(train.optimizer("sgd", 0.1), UniformlyFinite)


def made_by(updates, dtype=jnp.float32):
    """The parameters after these updates by an optimiser that is told by one array, and how many steps it skipped."""
    params = {"small": jnp.ones(2, dtype), "wide": jnp.array([-0.0, 4.0, 3.0], dtype)}
    optimizer = UniformlyFinite(lambda params: (), lambda grads, state, params=None, **_: (updates, state))
    one = train.minimise(
        lambda params, batch, key, state: (batch["x"] * params["small"][0], train.Aux({})),
        lambda key: params,
        optimizer,
    )
    after, _ = jax.jit(one.step)(one.init(jax.random.key(0)), {"x": jnp.ones(4, dtype), "index": jnp.arange(4)})
    return after.params, int(after.extra["skipped"]["total"])


def test_single_values_that_overflow_are_not_made():
    params, skipped = made_by({"small": jnp.ones(2), "wide": jnp.array([jnp.inf, 1.0, jnp.nan])})
    np.testing.assert_array_equal(params["wide"], [-0.0, 5.0, 3.0])
    assert np.signbit(params["wide"][0])
    np.testing.assert_array_equal(params["small"], [2.0, 2.0])
    assert skipped == 0
    params, skipped = made_by({"small": jnp.array([1.0, jnp.nan]), "wide": jnp.ones(3)})
    np.testing.assert_array_equal(params["wide"], [-0.0, 4.0, 3.0])
    assert skipped == 1


def test_all_arrays_of_float16_are_looked_at():
    small, wide = jnp.ones(2, jnp.float16), jnp.array([jnp.inf, 1.0, 1.0], jnp.float16)
    params, skipped = made_by({"small": small, "wide": wide}, jnp.float16)
    np.testing.assert_array_equal(params["small"], [1.0, 1.0])
    assert skipped == 1


@pytest.mark.parametrize(
    "given", [{"eps": 0.0}, {"eps": 1e-50}, {"second_momentum": 1 - 1e-9}, {"second_momentum": 1.0}]
)
def test_what_an_optimiser_would_divide_by_is_not_nothing(given):
    with pytest.raises(UsageError, match=next(iter(given))):
        train.optimizer("adam", 1e-3, **given)


def test_every_array_moves():
    one = learner()
    state = one.init(jax.random.key(0))
    after, _ = one.step(state, whole_batch())
    for before, new in zip(jax.tree.leaves(state.params), jax.tree.leaves(after.params), strict=True):
        assert not np.array_equal(before, new)


def chapter_of(one, length=10, plan="map"):
    fetch = problems.fetch_of(SPLIT, 16)
    chapter = train.make_chapter(one, fetch, length=length, seed_plan=plan)
    return jax.jit(lambda states, active, count: chapter(states, active, count, jnp.int32(0), SPLIT))


def test_chapter_equals_single_steps_and_its_cuts_do_not_show():
    one = learner()
    run = chapter_of(one)
    states = stacked_states(one, [4])
    both = jnp.ones(1, bool)
    whole, metrics = run(states, both, 10)
    cut = states
    for count in (3, 6, 1):
        cut, _ = run(cut, both, count)
    jax.tree.map(np.testing.assert_array_equal, cut.params, whole.params)
    step = train.make_train_step(one)
    state = one.init(jax.random.key(4))
    fetch = problems.fetch_of(SPLIT, 16)
    for position in range(10):
        state, row = step(state, fetch(SPLIT, state, 0, position, 0))
        assert float(row["loss"]) == pytest.approx(float(metrics["loss"][0, position]), rel=1e-5)


def test_masked_tail_and_stopped_seeds_stand_still():
    one = learner()
    run = chapter_of(one)
    states = stacked_states(one, [0, 1])
    after, metrics = run(states, jnp.asarray([True, False]), 4)
    assert np.asarray(after.step).tolist() == [4, 0]
    np.testing.assert_array_equal(after.params["w"][1], states.params["w"][1])
    assert (np.asarray(metrics["loss"])[0, 4:] == 0).all()
    assert (np.asarray(metrics["loss"])[1] == 0).all()


@pytest.mark.parametrize("plan", ["map", "vmap"])
def test_a_seed_among_five_is_the_seed_alone(plan):
    one = learner()
    together = stacked_states(one, range(5))
    alone = stacked_states(one, [3])
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[3], b[0]), together.params, alone.params)
    five, five_metrics = chapter_of(one, 100, plan)(together, jnp.ones(5, bool), 100)
    single, metrics = chapter_of(one, 100)(alone, jnp.ones(1, bool), 100)
    for name in metrics:
        np.testing.assert_allclose(five_metrics[name][3], metrics[name][0], rtol=1e-5)
    if plan == "map":
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[3], b[0]), five.params, single.params)
    assert len({np.asarray(w).tobytes() for w in five.params["w"]}) == 5


def test_second_call_compiles_nothing():
    one = learner()
    run = chapter_of(one)
    states, _ = run(stacked_states(one, [0, 1]), jnp.ones(2, bool), jnp.int32(10))
    arguments = jnp.asarray([True, False]), jnp.int32(3)
    with jax.no_tracing():
        run(states, *arguments)
