"""Inputs made of those before that got further: to lines of the project which none had reached."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from mutations import edited, edited_json

ROOT = Path(__file__).parent.parent.parent
PACKAGES = tuple(f"{ROOT / package}/" for package in ("seqjax", "experiments", "launch", "results"))
FURTHER = 0.3  # of the inputs are made of those kept
WATCHED = 0.25  # of the inputs: one that is watched takes half as long again


class Corpus:
    """kept: the inputs that reached new lines; lines: what all that were watched have reached, as file and line."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []
        self.lines: set[tuple[str, int]] = set()

    def made(self, made: Callable[[Random], bytes], random: Random) -> bytes:
        """An input as `made` makes them, or one of those kept, edited."""
        if not self.kept or random.random() >= FURTHER:
            return made(random)
        content = random.choice(self.kept)
        try:
            return edited_json(json.loads(content), random)
        except (ValueError, RecursionError):
            return edited(content, random)

    def read(self, read: Callable[[Path], object], path: Path, random: Random) -> object:
        """What `read` gives; now and then it is watched, and the input kept if it reached a new line."""
        return self.watched(read, path) if random.random() < WATCHED else read(path)

    def watched(self, read: Callable[[Path], object], path: Path) -> object:
        content, known, before = path.read_bytes(), len(self.lines), sys.gettrace()
        sys.settrace(self._entered)
        try:
            return read(path)
        finally:
            sys.settrace(before)
            if len(self.lines) > known:
                self.kept.append(content)

    def _entered(self, frame: FrameType, event: str, argument: Any) -> Callable | None:
        return self._reached if frame.f_code.co_filename.startswith(PACKAGES) else None

    def _reached(self, frame: FrameType, event: str, argument: Any) -> Callable:
        if event == "line":
            self.lines.add((frame.f_code.co_filename, frame.f_lineno))
        return self._reached
