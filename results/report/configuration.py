"""Configurations as tables: of one run, and the fields in which several differ."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from results.report.markup import Markup, element, left_out
from results.report.table import table

MOST_FIELDS = 300
ABSENT = "not set"


def fields_of(description: Mapping[str, Any]) -> dict[str, str]:
    """Experiment, configuration, plan and data of a run by the names of their fields, as text."""
    whole = {
        name: description[name]
        for name in ("experiment", "fork", "overfit_batch", "data_sha256")
        if name in description
    }
    plan = {f"plan.{name}": value for name, value in description["plan"].items()}
    return {name: text(value) for name, value in (whole | description["config"] | plan).items()}


def text(value: Any) -> str:
    """A value as JSON has it, but texts without their quotes."""
    try:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "nested too deep"


def differing(configurations: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """By field, the value of each configuration: only those fields in which they are not all the same."""
    names = dict.fromkeys(name for fields in configurations for name in fields)
    values = {name: [fields.get(name, ABSENT) for fields in configurations] for name in names}
    return {name: found for name, found in values.items() if len(set(found)) > 1}


def difference(labels: Sequence[str], configurations: Sequence[Mapping[str, str]]) -> Markup:
    """A table of the differing fields with a column for each run."""
    found = differing(configurations)
    if not found:
        return element("p", "All fields are the same.")
    lines = [[name, *map(_value, values)] for name, values in list(found.items())[:MOST_FIELDS]]
    content = table("Fields in which the configurations differ", ["field", *labels], lines)
    return Markup(content + left_out(len(found) - MOST_FIELDS, "fields"))


def _value(value: str) -> Markup:
    return element("span", value, class_="absent") if value == ABSENT else element("code", value)


def configuration(fields: Mapping[str, str], *, caption: str) -> Markup:
    """A table of fields and values."""
    lines = [[name, element("code", value)] for name, value in list(fields.items())[:MOST_FIELDS]]
    return Markup(table(caption, ["field", "value"], lines) + left_out(len(fields) - MOST_FIELDS, "fields"))
