"""How many inputs there were in all."""

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts = [dict(report.user_properties) for report in terminalreporter.getreports("passed")]
    inputs, refused = (sum(count.get(name, 0) for count in counts) for name in ("inputs", "refused"))
    if inputs:
        terminalreporter.write_line(f"{inputs:,} inputs, of which {refused:,} were refused and the others read")
