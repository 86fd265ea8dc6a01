"""How an experiment's process meets the others that run it too, and what is said when it ends."""

import os
import sys
import threading
import time
import traceback

import jax

from seqjax.errors import SeqjaxError, UsageError, shown
from seqjax.experiment.loopback import end_with_starter
from seqjax.experiment.options import Options
from seqjax.experiment.track import left_behind
from seqjax.parallel import Peers
from seqjax.parallel.peers import peers_here
from seqjax.parallel.processes import join, join_tpu_workers, place_in
from seqjax.parallel.watch import SILENT_AFTER, Watch


def starts_others(options: Options) -> bool:
    """Whether `--processes` asks for processes that are still to be started.

    Raises UsageError where an engine has started another number of them.
    """
    place, asked = place_in(os.environ), options.processes or 1
    if place is not None and options.processes not in (None, place.count):
        raise UsageError(
            f"--processes {asked}: {place.engine} has started {place.count}, of which this is number {place.index}.\n"
            "Leave it out there."
        )
    return place is None and asked > 1


def met(options: Options) -> tuple[Peers, Watch | None]:
    """All processes of the run, once they have met, and the watch that each keeps over the others."""
    place, first_gone = place_in(os.environ), threading.Event()
    if place is None:
        join_tpu_workers()
    elif place.count > 1:
        end_with_starter()
        first_gone = join(place)
    peers = peers_here()
    if peers.count == 1:
        return peers, None
    return peers, Watch(peers, stuck_after=options.stuck_after, first_gone=first_gone.is_set)


def told(error: BaseException, name: str, peers: Peers, watch: Watch | None) -> int:
    """The exit code of an experiment that ended with an error, after saying why: one process for all of them.

    An error that is nobody's but ours is raised again; shown as it would be with several processes, or a sink that has
    not ended.
    """
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, BrokenPipeError):
        # the reader of our output has gone; the run can be continued
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    code, text = _reason(error)
    # raised, it would let the process wait for a sink that hangs
    if code is None and watch is None and not left_behind():
        raise error
    if code is None and watch is not None and isinstance(error, jax.errors.JaxRuntimeError):
        # most likely a peer that has died, whom the watch will name
        time.sleep(2 * SILENT_AFTER)
    if not peers.is_first:
        time.sleep(1.0)
        if watch.others_failed():
            return 1 if code is None else code
        name = f"{name}, process {peers.index} of {peers.count}"
    if code is None:
        traceback.print_exception(error)
        return 1
    print(f"{name}: {shown(text)}", file=sys.stderr, flush=True)
    return code


def _reason(error: BaseException) -> tuple[int | None, str]:
    match error:
        case SeqjaxError():
            return error.exit_code, str(error)
        case OSError():
            return 2, f"{error.filename or 'a file'}: {error.strerror or error}."
        case KeyboardInterrupt():
            return 130, "interrupted before training; nothing was saved."
    return None, ""
