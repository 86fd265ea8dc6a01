"""A thread in each of several processes that ends them all when one of them has died, failed or stands still."""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from seqjax.errors import Interrupted
from seqjax.parallel.peers import PREFIX, Peers

SILENT_AFTER = 30.0  # seconds without a beat, after which a process counts as dead
TOGETHER = 10  # times as long may all stand equally far: most likely they wait for a long chapter
MOST_NAMED = 8  # in a line
LOST = 1  # the exit code of a run that another process has ended by being no more


class Beat(NamedTuple):
    """What a process says of itself: beats so far, steps it has set off, whether it is training, where it is."""

    number: int
    moves: int
    training: bool
    host: str


class Watch:
    """Says every second that this process lives, and looks whether the others do.

    stuck_after: seconds in training after which a process that sets off no step, while another has, counts as stuck.
        Where all stand equally far, `TOGETHER` times that, or times the longest that a chapter has taken.
    first_gone: says whether the connection to the first process is broken.
    end: called with an exit code when this process has to end; it does not return.
    """

    def __init__(
        self,
        peers: Peers,
        *,
        stuck_after: float,
        silent_after: float = SILENT_AFTER,
        every: float = 1.0,
        first_gone: Callable[[], bool] = lambda: False,
        end: Callable[[int], Any] = os._exit,
    ) -> None:
        self._peers, self._stuck_after, self._silent_after, self._end = peers, stuck_after, silent_after, end
        # all read what all write: the more they are, the less often, but several times before they count as silent
        self._every = min(every * max(1, peers.count / 32), silent_after / 3)
        self._first_gone = first_gone
        self._beat = Beat(0, 0, False, socket.gethostname())
        self._moved_at, self._longest = time.monotonic(), 0.0
        self._stopped = threading.Event()
        self._heard: dict[int, tuple[Beat | None, float]] = {
            index: (None, self._moved_at) for index in range(peers.count) if index != peers.index
        }
        self._answered_at = self._moved_at
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._run, self._time_answers)]
        for thread in self._threads:
            thread.start()

    def moved(self, *, training: bool) -> None:
        """A step has been set off, or training has begun or ended."""
        now = time.monotonic()
        if self._beat.training and training:
            self._longest = max(self._longest, now - self._moved_at)
        self._moved_at = now
        self._beat = self._beat._replace(moves=self._beat.moves + 1, training=training)

    def leave(self, code: int, *, within: float = 5.0) -> None:
        """Ends with the others, which are done too; with another code than 0 ends this process, and them with it."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(within)
        if code == 0:
            # waits for the others, of which one may have died after all was done
            closing = threading.Thread(target=jax.distributed.shutdown, daemon=True)
            closing.start()
            closing.join(self._silent_after)
            if closing.is_alive():
                self._leave(code)
            return
        self._tell(code, self._peers.count, within)
        self._leave(code)

    def _tell(self, code: int, readers: int, within: float = 5.0) -> None:
        """Lets the others end with this code."""
        self._in_time(within + self._every, self._say_ended, code, readers)

    def _say_ended(self, code: int, readers: int) -> None:
        """In the first process returns when the others, which ask it, have read this."""
        client, peers = self._peers.client, self._peers
        client.key_value_set(f"{PREFIX}/ended/{peers.index}", str(code))
        self._say_left()
        while peers.is_first and len(client.key_value_dir_get(f"{PREFIX}/left/")) < readers:
            time.sleep(0.05)

    def _say_left(self) -> None:
        self._peers.client.key_value_set(f"{PREFIX}/left/{self._peers.index}", "", allow_overwrite=True)

    def _in_time(self, seconds: float, say: Callable[..., None], *what: Any) -> None:
        """Waits no longer for it: where the first process is no more, nobody answers."""

        def run() -> None:
            with contextlib.suppress(jax.errors.JaxRuntimeError):
                say(*what)

        saying = threading.Thread(target=run, daemon=True)
        saying.start()
        saying.join(seconds)

    def others_failed(self) -> bool:
        """Whether another process has said that it ends."""
        return bool(self._peers.client.key_value_dir_get(f"{PREFIX}/ended/"))

    def _run(self) -> None:
        while not self._stopped.wait(self._every):
            try:
                self._say_and_listen()
                self._answered_at = time.monotonic()
            except jax.errors.JaxRuntimeError:
                pass  # the first process, which keeps what is said, may have gone: the time of its last answer tells

    def _time_answers(self) -> None:
        """Beside `_run`, which waits for ever for the answer of a process that has been halted or is no more."""
        while not self._stopped.wait(self._every):
            if self._first_gone():
                self._lost([0], "has died: its connection is closed")
            if time.monotonic() - self._answered_at > self._silent_after:
                self._lost([0], f"has not answered for {self._silent_after:.0f} s")

    def _say_and_listen(self) -> None:
        client, peers, now = self._peers.client, self._peers, time.monotonic()
        self._beat = self._beat._replace(number=self._beat.number + 1)
        client.key_value_set(f"{PREFIX}/beat/{peers.index}", json.dumps(self._beat), allow_overwrite=True)
        for key, text in client.key_value_dir_get(f"{PREFIX}/beat/"):
            index, beat = int(key.rsplit("/", 1)[1]), Beat(*json.loads(text))
            if index != peers.index and beat != self._heard[index][0]:
                self._heard[index] = (beat, now)
        ended = dict(client.key_value_dir_get(f"{PREFIX}/ended/"))
        for code in ended.values():
            # in training all stop at the same step, and the first still saves
            if int(code) != Interrupted.exit_code or not self._beat.training:
                self._say_left()
                self._leave(int(code))
        silent = [
            index
            for index, (_, at) in self._heard.items()
            if now - at > self._silent_after and f"{PREFIX}/ended/{index}" not in ended
        ]
        if silent:
            self._lost(silent, f"has not been heard of for {self._silent_after:.0f} s")
        if self._beat.training and now - self._moved_at > self._stuck_after:
            self._stuck(now - self._moved_at)

    def _stuck(self, seconds: float) -> None:
        beats = {self._peers.index: self._beat} | {i: beat for i, (beat, _) in self._heard.items() if beat is not None}
        if not all(beat.training for beat in beats.values()):
            return  # one of them does what the first alone does: it saves, or evaluates
        fewest = min(beat.moves for beat in beats.values())
        behind = [index for index, beat in beats.items() if beat.moves == fewest]
        if len(behind) == len(beats):
            if seconds > TOGETHER * max(self._stuck_after, self._longest):
                self._lost([], f"all {len(beats)} processes have stood still for {seconds:.0f} s")
            return
        self._lost(behind, f"has stood still for {self._stuck_after:.0f} s")

    def _lost(self, indices: list[int], what: str) -> None:
        """Ends this process. The first of those that are left says why, for all."""
        self._stopped.set()
        hosts = {index: beat.host if beat else "?" for index, (beat, _) in self._heard.items()}
        hosts[self._peers.index] = self._beat.host
        named = ", ".join(f"process {index} on {hosts[index]}" for index in indices[:MOST_NAMED])
        if len(indices) > MOST_NAMED:
            named += f" and {len(indices) - MOST_NAMED} more"
        left = [index for index in range(self._peers.count) if index not in indices]
        if not left or self._peers.index == left[0]:
            print(
                f"seqjax: {named} {what}.".replace(":  ", ": ")
                + "\nRun the same command to continue from the newest checkpoint.",
                file=sys.stderr,
                flush=True,
            )
            if self._peers.is_first:
                self._tell(LOST, len(left))
        else:
            # so that it can say it before an engine ends the job
            time.sleep(1.0 + self._every)
            if 0 in left:
                self._in_time(1.0, self._say_left)
        self._leave(LOST)

    def _leave(self, code: int) -> None:
        self._stopped.set()
        sys.stdout.flush()
        sys.stderr.flush()
        self._end(code)
