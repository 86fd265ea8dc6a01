"""Where a process stands among others, and what ends them all, without starting any."""

import socket
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.errors import UsageError
from seqjax.parallel.peers import Peers
from seqjax.parallel.processes import Place, join, loopback_environment, place_in
from seqjax.parallel.watch import Watch

SLURM = {
    "SLURM_JOB_ID": "17",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "gpu[007-9,12],cpu1",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
}
OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}


def test_a_process_on_its_own_has_no_place():
    assert place_in({}) is None
    assert place_in({"SLURM_JOB_ID": "17", "SLURM_NTASKS": "1"}) is None
    assert place_in({"OMPI_COMM_WORLD_SIZE": "1"}) is None


def test_the_environment_names_the_process():
    found = place_in(loopback_environment(1, 3, 4567))
    assert found == Place("the environment", 1, 3, "127.0.0.1:4567")


def test_slurm_names_the_process():
    found = place_in(SLURM)
    assert found == Place("Slurm", 3, 4, "gpu007:61559", [1])
    assert place_in(SLURM | {"SLURM_STEP_NODELIST": "one"}).coordinator == "one:61559"
    assert place_in(SLURM | {"SLURM_STEP_NODELIST": "one,two"}).coordinator == "one:61559"
    # two steps that share a node do not share a port
    assert place_in(SLURM | {"SLURM_STEP_ID": "1"}).coordinator == "gpu007:61560"
    assert place_in(SLURM | {"JAX_COORDINATOR_ADDRESS": "head:99"}).coordinator == "head:99"
    # all accelerators of a node are its only task's, and those that Slurm has chosen are the task's
    assert place_in(SLURM | {"SLURM_STEP_TASKS_PER_NODE": "1(x4)"}).local_devices is None
    assert place_in(SLURM | {"CUDA_VISIBLE_DEVICES": "2"}).local_devices is None
    assert place_in(SLURM | {"CUDA_VISIBLE_DEVICES": "0,1"}).local_devices == [1]


def test_open_mpi_names_the_process():
    assert place_in(OPEN_MPI) == Place("Open MPI", 1, 2, None)


@pytest.mark.parametrize("environment", [SLURM, OPEN_MPI, loopback_environment(0, 2, 4567)])
def test_half_an_environment_is_refused_by_name(environment):
    needed = [n for n in environment if n not in ("SLURM_NTASKS", "SLURM_STEP_TASKS_PER_NODE", "no_grpc_proxy")]
    for missing in needed:
        half = {name: value for name, value in environment.items() if name != missing}
        with pytest.raises(UsageError, match=f"{missing} is not set"):
            place_in(half)


def test_numbers_that_are_none_are_refused():
    with pytest.raises(UsageError, match="SLURM_PROCID=4: expected 0 to 3, since SLURM_NTASKS=4"):
        place_in(SLURM | {"SLURM_PROCID": "4"})
    with pytest.raises(UsageError, match="SLURM_NTASKS='many': expected a number"):
        place_in(SLURM | {"SLURM_NTASKS": "many"})


def test_a_taken_port_is_refused_at_once():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = Place("the environment", 0, 2, f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(UsageError, match=r"port \d+ for the coordinator cannot be had \(Address already in use\)"):
            join(place)
    with pytest.raises(UsageError, match="expected HOST:PORT"):
        join(Place("the environment", 0, 2, "head"))


class Store:
    """The part of JAX's coordination service that peers use, for the threads of one process."""

    def __init__(self):
        self.values, self.changed = {}, threading.Condition()
        self.answers = True

    def key_value_set(self, key, value, allow_overwrite=False):
        self._answer()
        with self.changed:
            assert allow_overwrite or key not in self.values
            self.values[key] = value
            self.changed.notify_all()

    def key_value_dir_get(self, prefix):
        self._answer()
        return [(key, value) for key, value in self.values.items() if key.startswith(prefix)]

    def blocking_key_value_get(self, key, timeout_in_ms):
        with self.changed:
            if not self.changed.wait_for(lambda: key in self.values, timeout_in_ms / 1000):
                raise jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED")
            return self.values[key]

    def _answer(self):
        if not self.answers:
            raise jax.errors.JaxRuntimeError("UNAVAILABLE")


def test_all_get_what_the_first_finds_and_what_each_gives():
    store, found = Store(), {}

    def go(index):
        peers = Peers(index, 3, store)
        first = peers.from_first("name", lambda: [index, {"a": 0.1}])
        found[index] = first, peers.gathered("each", index * 10)

    threads = [threading.Thread(target=go, args=(index,)) for index in (2, 1, 0)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(3), ([0, {"a": 0.1}], [0, 10, 20]))


def test_a_process_alone_asks_nobody():
    tree = {"a": jnp.asarray([-0.0, 1.0]), "key": jax.random.key(0)}
    alone = Peers()
    assert alone.tree_from_first(tree, tree) is tree
    assert alone.any_of([True, False]) == [True, False]
    assert alone.from_first("name", lambda: 3) == 3
    assert alone.gathered("name", 3) == [3]


class Ends:
    """Takes the place of `os._exit`."""

    def __init__(self):
        self.codes, self.ended = [], threading.Event()

    def __call__(self, code):
        self.codes.append(code)
        self.ended.set()
        if threading.current_thread() is threading.main_thread():
            raise SystemExit
        threading.Event().wait()  # nothing comes after the end


FAST = {"every": 0.02, "silent_after": 0.4}


@pytest.fixture
def watches():
    made = []

    def start(store, count, *, stuck_after=60.0):
        ends = [Ends() for _ in range(count)]
        for index, end in enumerate(ends):
            made.append(Watch(Peers(index, count, store), stuck_after=stuck_after, end=end, **FAST))
        return made, ends

    yield start
    for watch in made:
        watch._stopped.set()


def halted(watch):
    """As a process that has been killed or stopped: it says no more."""
    watch._stopped.set()
    for thread in watch._threads:
        thread.join()


def test_a_dead_process_ends_the_others_by_name(watches, capsys):
    made, ends = watches(Store(), 3)
    time.sleep(0.2)
    halted(made[1])
    assert ends[0].ended.wait(5)
    assert ends[2].ended.wait(5)
    assert (ends[0].codes[0], ends[2].codes[0]) == (1, 1)
    said = capsys.readouterr().err
    assert said.count("\n") == 2, "one of the others says it"
    assert f"process 1 on {socket.gethostname()} has not been heard of" in said
    assert "continue" in said


def test_a_first_process_that_does_not_answer_ends_the_others(watches, capsys):
    store = Store()
    made, ends = watches(store, 2)
    halted(made[0])
    store.answers = False
    assert ends[1].ended.wait(5)
    assert "process 0 on ? has not answered" in capsys.readouterr().err.replace(socket.gethostname(), "?")


def test_a_process_that_fails_ends_the_others_with_its_code(watches):
    made, ends = watches(Store(), 3)
    with pytest.raises(SystemExit):
        made[2].leave(4)
    assert ends[0].ended.wait(5)
    assert ends[1].ended.wait(5)
    assert [end.codes[0] for end in ends] == [4, 4, 4]


def test_the_first_process_stays_until_the_others_know(watches):
    made, ends = watches(Store(), 2)
    with pytest.raises(SystemExit):
        made[0].leave(2)
    assert ends[1].codes == [2]


def test_in_training_a_signal_leaves_the_first_process_its_time_to_save(watches):
    made, ends = watches(Store(), 2)
    made[0].moved(training=True)
    with pytest.raises(SystemExit):
        made[1].leave(75)
    assert not ends[0].ended.wait(0.2)
    made[0].moved(training=False)
    assert ends[0].ended.wait(5)
    assert ends[0].codes == [75]


def test_a_process_that_stands_still_in_training_is_named(watches, capsys):
    made, ends = watches(Store(), 2, stuck_after=0.3)
    for watch in made:
        watch.moved(training=True)
    made[0].moved(training=True)  # waits in the next step for the other
    assert ends[0].ended.wait(5)
    said = capsys.readouterr().err
    assert f"process 1 on {socket.gethostname()} has stood still" in said
    assert "process 0" not in said


def test_what_the_first_does_alone_is_no_standing_still(watches):
    made, ends = watches(Store(), 2, stuck_after=0.1)
    made[0].moved(training=False)
    made[1].moved(training=True)
    time.sleep(0.6)
    assert not ends[0].codes
    assert not ends[1].codes


def test_bytes_of_a_tree_come_back_as_its_arrays():
    from seqjax.parallel.peers import _bytes, _from_bytes, _zeros

    for leaf in (jnp.asarray([[-0.0, jnp.nan]]), jnp.arange(3), jnp.asarray([True, False]), jax.random.key(5)):
        like = jax.eval_shape(lambda leaf=leaf: leaf)
        assert len(_zeros(like)) == len(_bytes(leaf))
        again = _from_bytes(_bytes(leaf), like)
        assert again.dtype == leaf.dtype
        np.testing.assert_array_equal(_bytes(again), _bytes(leaf))
