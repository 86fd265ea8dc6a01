"""A headless Chromium that is told over a pipe what to do: no port, and no package beside it."""

import contextlib
import json
import os
import selectors
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
PATIENCE = 60.0  # seconds for an answer


def found() -> str | None:
    """The program, where this machine has one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Tab:
    """A page of the browser. events: what it has told of itself, unasked."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self.to_browser, self.from_browser = to_browser, from_browser
        self.events: list[dict[str, Any]] = []
        self.session: str | None = None
        self.waiting = b""
        self.asked = 0
        os.set_blocking(from_browser, False)
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to a command of the DevTools protocol."""
        self.asked += 1
        request = {"id": self.asked, "method": method, "params": params}
        if self.session:
            request["sessionId"] = self.session
        os.write(self.to_browser, json.dumps(request).encode() + b"\0")
        while True:
            message = self._message()
            if message.get("id") == self.asked:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            self.events.append(message)

    def _message(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        with selectors.DefaultSelector() as selector:
            selector.register(self.from_browser, selectors.EVENT_READ)
            while b"\0" not in self.waiting:
                assert selector.select(deadline - time.monotonic()), "the browser does not answer"
                part = os.read(self.from_browser, 2**20)
                assert part, "the browser has ended"
                self.waiting += part
        message, _, self.waiting = self.waiting.partition(b"\0")
        return json.loads(message)

    def open(self, path: Path) -> None:
        """Returns when the page has been loaded; what was told of the one before is forgotten."""
        self.events = []
        self.ask("Page.navigate", url=path.absolute().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._message())

    def run(self, expression: str) -> Any:
        """The value of an expression of JavaScript in the page."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def media(self, **features: str) -> None:
        """`prefers_color_scheme="dark"`; `media="print"`."""
        kind = features.pop("media", "")
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.ask("Emulation.setEmulatedMedia", media=kind, features=named)

    def width(self, pixels: int) -> None:
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=pixels, height=844, deviceScaleFactor=1, mobile=pixels < 600
        )

    def complaints(self) -> list[Mapping[str, Any]]:
        """What the page has written to the console, or thrown."""
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [event for event in self.events if event["method"] in kinds]

    def requested(self) -> list[str]:
        """The addresses that the page has asked for."""
        events = [event for event in self.events if event["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in events]


@contextlib.contextmanager
def tab(program: str, profile: Path) -> Iterator[Tab]:
    """A tab of a browser of its own, which is ended afterwards."""
    (their_in, our_out), (our_in, their_out) = os.pipe(), os.pipe()
    flags = ["--headless=new", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-first-run"]
    # a container often has no /dev/shm to speak of, and root is given no sandbox
    flags += ["--disable-dev-shm-usage", "--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    # Chromium reads its commands from descriptor 3 and answers on 4
    shell = ["bash", "-c", f'exec "$0" "$@" 3<&{their_in} 4>&{their_out}', program, *flags]
    with (profile.parent / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            shell, pass_fds=(their_in, their_out), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    os.close(their_in)
    os.close(their_out)
    try:
        yield Tab(our_out, our_in)
    finally:
        os.close(our_out)
        os.close(our_in)
        # without its pipe it ends of itself
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
