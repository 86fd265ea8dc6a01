"""The ends of a run that are not success, each with its exit code and a message of one or two lines.

A message names the thing, says what was expected, and what to do.
"""


class SeqjaxError(Exception):
    """Something the user can act on; the command line prints the message alone and exits with `exit_code`."""

    exit_code = 2


def shown(message: str) -> str:
    """One or two lines, whatever names a message holds: what would break a line or drive the terminal is escaped."""
    lines = message.split("\n")
    return "\n".join(map(_printable, lines if len(lines) <= 2 else [message]))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class UsageError(SeqjaxError, ValueError):
    """A wrong argument, configuration or run directory."""


class SaveError(SeqjaxError):
    """A checkpoint or a line of metrics could not be written; those before are as they were."""

    ADVICE = "Make room or give permission, then run the same command: the checkpoint before stays good."


class DataError(SeqjaxError, ValueError):
    """Data that are missing, corrupted or of the wrong form."""


class NonFiniteError(SeqjaxError, ArithmeticError):
    """Training stopped on values that are not finite."""

    exit_code = 3


class CheckpointError(SeqjaxError):
    """No checkpoint can be trusted, or it belongs to another configuration."""

    exit_code = 4


class Interrupted(SeqjaxError):  # noqa: N818 - a signal is no error
    """Stopped by a signal after saving; the same command continues."""

    exit_code = 75


def require(condition: bool, name: str, value: object, expected: str) -> None:
    """Raises UsageError `NAME=VALUE: expected ...` unless the condition holds."""
    if not condition:
        raise UsageError(f"{name}={value}: expected {expected}.")
