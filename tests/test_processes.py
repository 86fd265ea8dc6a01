"""Where a process stands among others, and what ends them all, without starting any."""

import contextlib
import socket
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.errors import UsageError
from seqjax.parallel import processes
from seqjax.parallel.coordinator import Relay, greets
from seqjax.parallel.peers import Peers
from seqjax.parallel.processes import Place, join, join_tpu_workers, loopback_environment, place_in
from seqjax.parallel.watch import Watch

SLURM = {
    "SLURM_JOB_ID": "17",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "gpu[007-9,12],cpu1",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
}
OPEN_MPI = {
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911",
}
KUBERNETES = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "1"}


def test_processes_that_were_started_here_share_out_the_gpus(tmp_path, monkeypatch):
    def devices(index, count, **more):
        return place_in(loopback_environment(index, count, 4567) | {processes.STARTER: "1"} | more).local_devices

    monkeypatch.setattr(processes, "GPUS", tmp_path)
    assert devices(0, 2) is None
    for number in range(5):
        (tmp_path / f"0000:{number}").mkdir()
    assert [devices(index, 2) for index in range(2)] == [[0, 1], [2, 3]]
    assert [devices(index, 2, CUDA_VISIBLE_DEVICES="3,7") for index in range(2)] == [[0], [1]]
    assert devices(5, 6) is None
    # who has started them otherwise has shared them out, too
    assert place_in(loopback_environment(1, 2, 4567)).local_devices is None


def test_a_process_on_its_own_has_no_place():
    assert place_in({}) is None
    assert place_in({"SLURM_JOB_ID": "17", "SLURM_NTASKS": "1"}) is None
    # a batch script without srun, which Slurm calls number 0
    batch = {"SLURM_JOB_ID": "17", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODELIST": "one"}
    assert place_in(batch) is None
    assert place_in({"OMPI_COMM_WORLD_SIZE": "1"}) is None
    assert place_in({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}) is None
    assert place_in(KUBERNETES | {"JAX_NUM_PROCESSES": "1"}) is None


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


def test_open_mpi_names_the_process(monkeypatch):
    from jax._src.clusters.ompi_cluster import OmpiCluster

    for uri in (OPEN_MPI["OMPI_MCA_orte_hnp_uri"], "1314521088.0;tcp6://[fe80::b9b,2620:10d::2]:43370"):
        monkeypatch.setenv("OMPI_MCA_orte_hnp_uri", uri)
        host, _, port = OmpiCluster.get_coordinator_address(None, None).rpartition(":")
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        found = place_in(OPEN_MPI | {"OMPI_MCA_orte_hnp_uri": uri})
        assert found == Place("Open MPI", 1, 2, address, [1])
    assert place_in(OPEN_MPI | {"JAX_COORDINATOR_ADDRESS": "head:99"}).coordinator == "head:99"
    # as with Slurm, not one of four where it is alone or has been given its own
    assert place_in(OPEN_MPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "1"}).local_devices is None
    assert place_in(OPEN_MPI | {"CUDA_VISIBLE_DEVICES": "2"}).local_devices is None


@pytest.mark.parametrize("environment", [SLURM, OPEN_MPI, loopback_environment(0, 2, 4567)])
def test_half_an_environment_is_refused_by_name(environment):
    needed = [n for n in environment if n not in ("SLURM_STEP_TASKS_PER_NODE", "no_grpc_proxy")]
    for missing in needed:
        half = {name: value for name, value in environment.items() if name != missing}
        with pytest.raises(UsageError, match=f"{missing}[^;]* is not set"):
            place_in(half)


def test_several_tasks_of_slurm_are_not_taken_for_one():
    step = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_STEP_NODELIST": "n1"}
    with pytest.raises(UsageError, match="SLURM_NTASKS is not set"):
        place_in(step | {"SLURM_STEP_NUM_TASKS": "4"})
    with pytest.raises(UsageError, match="SLURM_NTASKS=1: expected SLURM_STEP_NUM_TASKS=4"):
        place_in(step | {"SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "1"})
    with pytest.raises(UsageError, match="SLURM_PROCID=3: expected 0 to 0"):
        place_in(step | {"SLURM_PROCID": "3", "SLURM_NTASKS": "1"})
    assert place_in(step | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "1"}) is None


@pytest.mark.parametrize("index", ["0", "1"])
def test_a_pod_of_an_indexed_job_has_to_say_whether_it_is_alone(index):
    with pytest.raises(UsageError, match=f"JOB_COMPLETION_INDEX={index}, and JAX_NUM_PROCESSES is not set"):
        place_in(KUBERNETES | {"JOB_COMPLETION_INDEX": index})
    assert place_in(KUBERNETES | loopback_environment(1, 3, 4567)).index == 1


def on_a_tpu(monkeypatch, initialize):
    monkeypatch.setattr(processes.importlib.util, "find_spec", lambda name: name == "libtpu")
    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    monkeypatch.delenv("JAX_PLATFORMS")


def test_the_workers_of_a_tpu_meet_by_what_jax_finds(monkeypatch):
    calls = []
    on_a_tpu(monkeypatch, lambda **named: calls.append(named))
    join_tpu_workers()
    assert [call["initialization_timeout"] for call in calls] == [processes.MEET_WITHIN]
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    join_tpu_workers()
    assert len(calls) == 1


@pytest.mark.parametrize(
    "error", [RuntimeError("DEADLINE_EXCEEDED: no\nmore"), OSError("no metadata"), KeyError("WORKER")]
)
def test_workers_of_a_tpu_that_cannot_be_met_are_told_in_a_line(monkeypatch, error):
    def initialize(**named):
        raise error

    on_a_tpu(monkeypatch, initialize)
    with pytest.raises(UsageError, match=r"the workers of this TPU cannot be met \(.*(no|WORKER).*\)\.\n") as told:
        join_tpu_workers()
    assert str(told.value).count("\n") == 1


def test_a_machine_with_the_tpu_library_alone_is_on_its_own(monkeypatch):
    def initialize(**named):
        raise ValueError("coordinator_address should be defined.")

    on_a_tpu(monkeypatch, initialize)
    join_tpu_workers()


def test_numbers_that_are_none_are_refused():
    with pytest.raises(UsageError, match="SLURM_PROCID=4: expected 0 to 3, since SLURM_NTASKS=4"):
        place_in(SLURM | {"SLURM_PROCID": "4"})
    with pytest.raises(UsageError, match="SLURM_NTASKS='many': expected a number"):
        place_in(SLURM | {"SLURM_NTASKS": "many"})


@pytest.fixture
def taken():
    """The address of a port that another program holds."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield f"127.0.0.1:{other.getsockname()[1]}"


@pytest.fixture
def at_once():
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin < 5


def test_a_taken_port_is_refused_at_once(taken, at_once):
    with pytest.raises(UsageError, match=r"port \d+ for the coordinator cannot be had \(Address already in use\)"):
        join(Place("the environment", 0, 2, taken))
    with pytest.raises(UsageError, match=rf"process 1 of 2 .*: another program answers at {taken}"):
        join(Place("the environment", 1, 2, taken))
    with pytest.raises(UsageError, match="takes another port") as told:
        join(Place("--processes", 0, 2, taken))
    assert "JAX_COORDINATOR_ADDRESS" not in str(told.value), "which nobody has set"


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("address", ["head", "head:", ":7", "head:70000", "head:http"])
def test_an_address_of_another_form_is_refused(index, address):
    with pytest.raises(UsageError, match="expected HOST:PORT"):
        join(Place("the environment", index, 2, address))


def test_a_first_process_that_does_not_come_is_awaited_for_a_time(monkeypatch):
    monkeypatch.setattr(processes, "MEET_WITHIN", 0.3)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and does not listen
        with pytest.raises(UsageError, match=r"process 1 of 2 .*: the first process does not answer at .* for 0 s"):
            join(Place("the environment", 1, 2, f"127.0.0.1:{free.getsockname()[1]}"))


def test_a_coordinator_is_known_by_its_greeting():
    from jax._src.lib import _jax

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    service = _jax.get_distributed_runtime_service(address, 1)
    try:
        assert greets(address)
    finally:
        service.shutdown()
    with pytest.raises(OSError, match="refused"):
        greets(address)


def test_a_relay_stays_open_when_the_far_end_breaks():
    with socket.create_server(("127.0.0.1", 0)) as server, contextlib.ExitStack() as opened:
        relay = Relay(f"127.0.0.1:{server.getsockname()[1]}")
        host, _, port = relay.address.rpartition(":")

        def connection():
            near = opened.enter_context(socket.create_connection((host, int(port)), timeout=5))
            return near, opened.enter_context(server.accept()[0])

        near, far = connection()
        near.close()
        assert far.recv(1) == b""
        assert not relay.broken.wait(0.1), "which was closed on this side"
        near, far = connection()
        near.sendall(b"there")
        assert far.recv(5) == b"there"
        far.sendall(b"back")
        assert near.recv(4) == b"back"
        far.close()
        assert relay.broken.wait(5)
        near.sendall(b"again")
        near.settimeout(0.1)
        with pytest.raises(TimeoutError):
            near.recv(1)


class Store:
    """The part of JAX's coordination service that peers use, for the threads of one process."""

    def __init__(self):
        self.values, self.changed = {}, threading.Condition()
        self.answers, self.hangs = True, False

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
        if self.hangs:
            threading.Event().wait()
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

    def start(store, count, *, stuck_after=60.0, **named):
        ends = [Ends() for _ in range(count)]
        for index, end in enumerate(ends):
            made.append(Watch(Peers(index, count, store), stuck_after=stuck_after, end=end, **FAST, **named))
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


def test_a_first_process_whose_connection_breaks_is_named_at_once(watches, capsys):
    store, gone = Store(), threading.Event()
    made, ends = watches(store, 3, first_gone=gone.is_set)
    time.sleep(0.1)
    halted(made[0])
    store.hangs = True
    gone.set()
    assert ends[1].ended.wait(0.3)
    assert ends[2].ended.wait(5)
    assert (ends[1].codes, ends[2].codes) == ([1], [1])
    said = capsys.readouterr().err
    assert said.count("\n") == 2, "one of the others says it"
    assert f"process 0 on {socket.gethostname()} has died" in said


def test_a_process_ends_though_nobody_hears_why(watches):
    store = Store()
    made, ends = watches(store, 2)
    store.hangs = True
    begin = time.monotonic()
    with pytest.raises(SystemExit):
        made[1].leave(4, within=0.2)
    assert ends[1].codes == [4]
    assert time.monotonic() - begin < 2


def test_beats_of_many_processes_are_no_rarer_than_silence_allows():
    for count, every in ((2, 1.0), (64, 2.0), (960, 10.0), (5000, 10.0)):
        watch = Watch(Peers(0, count, Store()), stuck_after=60.0, end=Ends())
        watch._stopped.set()
        assert watch._every == every


def test_a_process_that_is_done_waits_for_the_others_for_a_time(watches, monkeypatch):
    made, ends = watches(Store(), 2)
    monkeypatch.setattr(jax.distributed, "shutdown", lambda: None)
    made[0].leave(0)
    assert ends[0].codes == []
    monkeypatch.setattr(jax.distributed, "shutdown", threading.Event().wait)
    with pytest.raises(SystemExit):
        made[1].leave(0)
    assert ends[1].codes == [0]


class Crowd(Store):
    """A store in which all others say something new whenever they are asked."""

    def key_value_dir_get(self, prefix):
        if not prefix.endswith("/beat/"):
            return super().key_value_dir_get(prefix)
        self.asked = getattr(self, "asked", 0) + 1
        return [(f"{prefix}{index}", f'[{self.asked}, 0, false, "host"]') for index in range(1, 1200)]


def test_many_processes_that_live_are_left_alone():
    end = Ends()
    watch = Watch(Peers(0, 1200, Crowd()), stuck_after=60.0, end=end, **FAST)
    assert not end.ended.wait(1.5)
    watch._stopped.set()


def test_of_many_that_have_died_some_are_named(capsys):
    end = Ends()
    Watch(Peers(0, 1200, Store()), stuck_after=60.0, end=end, **FAST)
    assert end.ended.wait(5)
    said = capsys.readouterr().err
    assert "process 1 on ?, process 2 on ?" in said
    assert "and 1191 more has not been heard of" in said


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


def test_a_save_may_take_longer_than_a_silence(watches):
    made, ends = watches(Store(), 2)
    made[0].moved(training=True)
    with pytest.raises(SystemExit):
        made[1].leave(75)
    assert not ends[0].ended.wait(1.0)


def test_the_first_process_says_that_all_stand_still_and_ends_last(watches, capsys):
    made, ends = watches(Store(), 3, stuck_after=0.1)
    order = []
    for index, (watch, end) in enumerate(zip(made, ends, strict=True)):
        watch._end = lambda code, index=index, end=end: (order.append(index), end(code))
        watch.moved(training=True)
    for end in ends:
        assert end.ended.wait(5)
    assert order[-1] == 0
    assert [end.codes for end in ends] == [[1], [1], [1]]
    assert "all 3 processes have stood still" in capsys.readouterr().err


def test_a_chapter_that_takes_all_of_them_long_is_no_standing_still(watches):
    made, ends = watches(Store(), 2, stuck_after=0.1)
    for watch in made:
        watch.moved(training=True)
    time.sleep(0.7)
    for watch in made:
        watch.moved(training=True)
    time.sleep(1.6)
    assert not ends[0].codes
    assert not ends[1].codes


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
