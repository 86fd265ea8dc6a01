"""What processes tell each other, and what ends them all where one is lost, as threads of one process."""

import socket
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.parallel.peers import PREFIX, Peers
from seqjax.parallel.watch import Watch


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


def test_bytes_of_a_tree_come_back_as_its_arrays():
    from seqjax.parallel.peers import _bytes, _from_bytes, _zeros

    for leaf in (jnp.asarray([[-0.0, jnp.nan]]), jnp.arange(3), jnp.asarray([True, False]), jax.random.key(5)):
        like = jax.eval_shape(lambda leaf=leaf: leaf)
        assert len(_zeros(like)) == len(_bytes(leaf))
        again = _from_bytes(_bytes(leaf), like)
        assert again.dtype == leaf.dtype
        np.testing.assert_array_equal(_bytes(again), _bytes(leaf))


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


def test_the_first_process_says_that_all_stand_still_and_ends_when_the_others_are_about_to(watches, capsys):
    store, gone = Store(), []
    made, ends = watches(store, 3, stuck_after=0.1)
    made[0]._end = lambda code: (gone.append(len(store.key_value_dir_get(f"{PREFIX}/left/"))), ends[0](code))
    for watch in made:
        watch.moved(training=True)
    for end in ends:
        assert end.ended.wait(5)
    assert gone == [3], "of which one is its own"
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
