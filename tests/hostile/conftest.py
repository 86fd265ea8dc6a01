"""Bounds on memory, and how many wrong inputs there were in all."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

MOST_BYTES = 2**32  # beyond what the process has


@pytest.fixture
def bounded_memory() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MOST_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts = [dict(report.user_properties) for report in terminalreporter.getreports("passed")]
    inputs, refused = (sum(count.get(name, 0) for count in counts) for name in ("inputs", "refused"))
    if inputs:
        terminalreporter.write_line(f"{inputs:,} inputs, of which {refused:,} were refused and the others read")
