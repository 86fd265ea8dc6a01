"""What a target's options may be: anything that a shell or a scheduler could misread is refused here, by name."""

import argparse
import re

from seqjax.errors import UsageError


def count(text: str) -> int:
    """A whole number of at least 1."""
    if not re.fullmatch(r"0*[1-9][0-9]{0,5}", text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, 1 to 999999")
    return int(text)


def word(text: str) -> str:
    """A name of the kind that clusters give to partitions, accounts, zones, images and claims."""
    return _matched(text, r"[A-Za-z0-9_][A-Za-z0-9_.,:/@+=-]*", "letters, digits and any of _ . , : / @ + = -")


def duration(text: str) -> str:
    """Slurm's forms of a time: minutes, minutes:seconds, hours:minutes:seconds, days-hours, and so on."""
    return _matched(text, r"[0-9]{1,9}(-[0-9]{1,9})?(:[0-9]{1,9}){0,2}", "minutes, HH:MM:SS or days-hours")


def seconds(time: str) -> int:
    """The length of a time as Slurm writes it."""
    days, dash, rest = time.rpartition("-")
    parts = [*map(int, rest.split(":")), 0, 0]
    # hours come first after days, and where there are three numbers
    hours, minutes, rest_of_minute = parts[:3] if dash or len(parts) == 5 else (0, *parts[:2])
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + rest_of_minute


def dns_label(text: str) -> str:
    """A name of Kubernetes and of Google Cloud."""
    return _matched(text, r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", "at most 40 of a-z, 0-9 and -, from a letter on")


def inner_path(text: str) -> str:
    """An absolute path inside a container."""
    return _matched(text, r"(/[A-Za-z0-9_.-]+)+", "an absolute path of letters, digits and any of _ . -")


def quantity(text: str) -> str:
    """Kubernetes' form of an amount."""
    return _matched(text, r"[0-9]+(\.[0-9]+)?(m|[kMGTP]|[KMGTP]i)?", "a quantity such as 4, 500m or 16Gi")


def topology(text: str) -> str:
    """The chips of a TPU slice along each axis."""
    return _matched(text, r"[1-9][0-9]{0,4}(x[1-9][0-9]{0,4}){1,2}", "chips along each axis, such as 2x4")


def _matched(text: str, pattern: str, expected: str) -> str:
    if not re.fullmatch(pattern, text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected {expected}")
    return text


def setting(text: str) -> tuple[str, str]:
    """KEY=VALUE for the environment; the value is any text."""
    key, equals, value = text.partition("=")
    if not (equals and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key)):
        raise argparse.ArgumentTypeError(f"{text!r}: expected KEY=VALUE")
    return key, value


def as_text(name: str, text: str) -> str:
    """The text itself. Raises UsageError for bytes that are no UTF-8, which scripts, JSON and ssh do not carry."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{name} {text!r}: is no UTF-8, which this target cannot carry.") from None
    return text


def one_line(name: str, text: str, forbidden: str = "") -> str:
    """The text itself. Raises UsageError for no UTF-8, control characters, and those forbidden."""
    bad = [c for c in as_text(name, text) if ord(c) < 32 or ord(c) == 127 or c in forbidden]
    if bad:
        raise UsageError(f"{name} {text!r}: cannot hold {bad[0]!r} here; choose another one.")
    return text
