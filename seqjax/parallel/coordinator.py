"""The way to the first process, where JAX keeps what all say of themselves: awaited for a time, then held open."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable

from seqjax.errors import UsageError

LOOPBACK = "127.0.0.1"
NAME = "JAX_COORDINATOR_ADDRESS"
TO_GREET = 2.0  # seconds
SETTINGS = 4  # the type of the frame with which an HTTP/2 server, as the coordinator is one, greets


def host_and_port(address: str) -> tuple[str, int]:
    """The two parts of `HOST:PORT`. Raises UsageError for anything else."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UsageError(f"{NAME}={address!r}: expected HOST:PORT.")
    return host.removeprefix("[").removesuffix("]"), int(port)


def greets(address: str) -> bool:
    """Whether it is a coordinator that answers there. Raises OSError where nothing does."""
    begin = b""
    with socket.create_connection(host_and_port(address), timeout=TO_GREET) as probe:
        while len(begin) < 4:
            try:
                part = probe.recv(64)
            except TimeoutError:
                return False
            if not part:
                raise ConnectionResetError("closes the connection")
            begin += part
    return begin[3] == SETTINGS


def wait_for(address: str, within: float) -> None:
    """Returns once a coordinator answers there. Raises UsageError for anything else that does, or nothing in time."""
    until = time.monotonic() + within
    while True:
        try:
            if not greets(address):
                raise UsageError(f"another program answers at {address}.\nName another port in {NAME}.")
            return
        except OSError as error:
            # it, or its name, may not be there yet
            if time.monotonic() > until:
                raise UsageError(
                    f"the first process does not answer at {address} for {within:.0f} s"
                    f" ({error.strerror or error}).\nSee whether it runs, and name its HOST:PORT in {NAME}."
                ) from None
        time.sleep(0.2)


class Relay:
    """Passes bytes on between this process and the coordinator.

    JAX's client aborts its process as soon as a connection breaks, before anybody can be named. This one stays open,
    and `broken` is set instead.
    """

    def __init__(self, address: str) -> None:
        self.broken = threading.Event()
        self._far = host_and_port(address)
        self._held: list[socket.socket] = []  # one that nothing refers to would be closed
        self._listener = socket.create_server((LOOPBACK, 0))
        self.address = f"{LOOPBACK}:{self._listener.getsockname()[1]}"
        _in_background(self._accept)

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            try:
                far = socket.create_connection(self._far, timeout=TO_GREET)
            except OSError:
                near.close()  # the client tries again
                continue
            far.settimeout(None)
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._held.append(near)
            closed_here = threading.Event()
            _in_background(self._pass_on, near, far, closed_here)
            _in_background(self._pass_back, far, near, closed_here)

    def _pass_on(self, near: socket.socket, far: socket.socket, closed_here: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while part := _received(near):
                far.sendall(part)
            closed_here.set()
            far.shutdown(socket.SHUT_RDWR)

    def _pass_back(self, far: socket.socket, near: socket.socket, closed_here: threading.Event) -> None:
        while part := _received(far):
            with contextlib.suppress(OSError):
                near.sendall(part)
        far.close()
        if closed_here.is_set():
            self._held.remove(near)
            near.close()
        else:
            self.broken.set()


def _received(end: socket.socket) -> bytes:
    """The next bytes; none once it is closed or broken."""
    with contextlib.suppress(OSError):
        return end.recv(2**16)
    return b""


def _in_background(run: Callable[..., None], *args: object) -> None:
    threading.Thread(target=run, args=args, daemon=True).start()
