"""Where a process stands among others, and how they meet, without starting any."""

import contextlib
import socket
import time

import jax
import pytest

from seqjax.errors import UsageError
from seqjax.parallel import processes
from seqjax.parallel.coordinator import Relay, greets
from seqjax.parallel.processes import Place, join, join_tpu_workers, loopback_environment, place_in

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
