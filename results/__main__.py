"""`python -m results` rebuilds the tables; `reproduce ROW`, `verify [ROW ...]` and `--check` hold them to the truth.

`export FORMAT` prints them for other programs; `report [RUN ...]` shows them, or runs beside each other, in one HTML
file. `drift OLD NEW` compares the numbers of two sets of versions.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from experiments.__main__ import names, unknown_name
from results import drift, front
from results import reproduce as again
from results.exports import EXPORTS
from results.report.committed import report_of_results
from results.report.output import check_output, write_report
from results.report.run_directory import read_runs
from results.report.runs import report_of_runs
from results.row import Row
from results.rows import ROWS
from results.stored import Current, current, path_of
from results.table import duration, faults, rebuild, receipts_of
from results.verdict import verdict
from seqjax.errors import Interrupted, SeqjaxError, UsageError, shown

FOLDER = Path(__file__).parent
RUNS = Path("runs/results")
REPORT = Path("report.html")
USAGE = {
    "": "python -m results [--check] | reproduce ROW [--run-dir DIR] | "
    "verify [--smoke [--before CHECKOUT]] [--all | ROW ...] | export FORMAT [ROW ...] | report [RUN ...] | "
    "drift OLD NEW [NAME ...]",
    "reproduce": "python -m results reproduce ROW [--run-dir DIR]",
    "verify": "python -m results verify [--smoke [--before CHECKOUT]] [--all | ROW ...]",
    "export": "python -m results export FORMAT [ROW ...]",
    "report": "python -m results report [--output FILE] [--title TEXT] [RUN ...]",
    "drift": "python -m results drift OLD NEW [NAME ...]",
}


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser("python -m results", usage=USAGE[""], description=__doc__, allow_abbrev=False)
    top.add_argument("--check", action="store_true", help="exit 1 when a table or figure is not what the receipts say")
    does = top.add_subparsers(dest="action", metavar="ACTION", prog=top.prog)
    one = does.add_parser(
        "reproduce", usage=USAGE["reproduce"], help="run a row, store its receipt, rebuild the tables"
    )
    one.add_argument("row", metavar="ROW")
    one.add_argument("--run-dir", type=Path, help="default: a fresh or unfinished directory runs/results/ROW-N")
    some = does.add_parser("verify", usage=USAGE["verify"], help="run rows again and compare with their receipts")
    some.add_argument(
        "rows",
        metavar="ROW",
        nargs="*",
        help="default: of each experiment the quickest row that has a receipt; with --smoke every such row",
    )
    some.add_argument("--all", action="store_true", help="every row that has a receipt: many hours")
    some.add_argument("--smoke", action="store_true", help="only their smoke twins; those that agree are current again")
    some.add_argument(
        "--before",
        metavar="CHECKOUT",
        type=Path,
        help="a checkout of the code that the receipts stand for: a twin that is not as recorded is compared with its",
    )
    other = does.add_parser("export", usage=USAGE["export"], help="print the rows that have been run, as csv or latex")
    other.add_argument("format", metavar="FORMAT", choices=EXPORTS, help=" or ".join(EXPORTS))
    other.add_argument("rows", metavar="ROW", nargs="*", help="default: every row that has a receipt")
    shown = does.add_parser("report", usage=USAGE["report"], help="write one HTML file of the tables, or of runs")
    shown.add_argument(
        "runs", metavar="RUN", nargs="*", type=Path, help="run directory; default: the committed results"
    )
    shown.add_argument("--output", metavar="FILE", type=Path, default=REPORT, help=f"default: {REPORT}")
    shown.add_argument("--title", metavar="TEXT", help="of the page")
    two = does.add_parser("drift", usage=USAGE["drift"], help="compare the smoke runs of two Pythons")
    for side in drift.SIDES:
        two.add_argument(side, metavar=side.upper(), type=Path, help="a Python with what seqjax requires")
    two.add_argument(
        "names", metavar="NAME", nargs="*", help="experiments, shown alone; default: all, which are stored"
    )
    return top


def main(args: Sequence[str], *, rows: Sequence[Row] = ROWS, folder: Path = FOLDER, runs: Path = RUNS) -> int:
    """The exit code: 0 done, 1 something differs, 2 bad usage or a receipt that cannot be read, else that of a run."""
    options = parser().parse_args(args)
    try:
        if options.check and options.action:
            raise UsageError(f"--check: stands alone, found {options.action} beside it.")
        if options.action == "reproduce":
            return _reproduce(rows, options.row, options.run_dir, folder, runs)
        if options.action == "verify":
            if options.all and options.rows:
                raise UsageError(f"--all: stands without rows, found {options.rows[0]} beside it.")
            if options.before and not options.smoke:
                raise UsageError("--before: compares smoke twins; it stands beside --smoke.")
            return _verify(
                rows, options.rows, folder, runs, smoke=options.smoke, every=options.all, before=options.before
            )
        if options.action == "export":
            return _export(rows, options.format, options.rows, folder)
        if options.action == "report":
            return _report(rows, options.runs, options.output, options.title, folder)
        if options.action == "drift":
            return _drift(options.old, options.new, options.names, folder)
        return _check(rows, folder) if options.check else _rebuild(rows, current(rows), folder)
    except SeqjaxError as error:
        print(f"results: {shown(str(error))}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"results: {error.filename}: cannot be read or written ({error.strerror}).", file=sys.stderr)
        return 2


def _rebuild(rows: Sequence[Row], now: dict[str, Current], folder: Path) -> int:
    written = [*rebuild(rows, now, folder), *front.rebuild(rows, receipts_of(rows, folder), folder)]
    print("\n".join(f"wrote {path}" for path in written) or "nothing has changed")
    return 0


def _check(rows: Sequence[Row], folder: Path) -> int:
    found = faults(rows, current(rows), folder)
    found += [*front.faults(rows, receipts_of(rows, folder), folder), *drift.faults(folder)]
    for line in found:
        print(line)
    if found:
        print("python -m results writes them anew from the receipts.")
    return 1 if found else 0


def _reproduce(rows: Sequence[Row], name: str, run_dir: Path | None, folder: Path, runs: Path) -> int:
    (row,) = again.chosen(rows, [name])
    target = run_dir or again.free_run_dir(runs / row.name, current([row])[row.name])
    print(f"{row.command}   in {target}", flush=True)
    code = again.reproduce(row, target, folder)
    if code:
        print(f"results: {row.name}: the run ended with exit code {code}; no receipt was stored.", file=sys.stderr)
        return code
    # only now: a change of the code while the row ran shall show as stale
    _rebuild(rows, current(rows), folder)
    print(f"{row.name}: {verdict(row, receipts_of(rows, folder))}")
    return 0


def _verify(
    rows: Sequence[Row],
    wanted: Sequence[str],
    folder: Path,
    runs: Path,
    *,
    smoke: bool,
    every: bool,
    before: Path | None = None,
) -> int:
    some = again.chosen(rows, wanted) or [row for row in rows if path_of(row, folder).exists()]
    if not some:
        print("no row has a receipt yet")
        return 0
    if not smoke:
        seconds = again.recorded_seconds(some, folder)
        is_sample = not wanted and not every
        some = again.sample(some, seconds) if is_sample else some
        took = duration(sum(seconds.get(row.name, 0.0) for row in some))
        which = ", the quickest of each experiment (--all for every row)" if is_sample else ""
        print(f"{len(some)} row{'s' * (len(some) > 1)}{which}: {took} recorded in all", flush=True)
    now, worst = current(rows), 0
    for row in some:
        try:
            here = now[row.name]
            code = judged_by_twin(row, here, folder, before) if smoke else judged_by_rerun(row, here, folder, runs)
        except SeqjaxError as error:
            # a row that cannot be judged keeps none of the others from it
            print(f"results: {shown(str(error))}", file=sys.stderr)
            code = error.exit_code
        worst = max(worst, code)
        if code == Interrupted.exit_code or code >= 128:
            break  # the signal was meant for the whole command
    if smoke:
        _rebuild(rows, now, folder)
    return worst


def judged_by_twin(
    row: Row,
    now: Current,
    folder: Path,
    before: Path | None = None,
    twin: Callable[[Row], dict[str, float]] = again.twin_metrics,
) -> int:
    """0 when the row's smoke twin gives the recorded metrics again, else 1; prints which do not.

    before: a checkout whose twin on this machine does as well.
    """
    changed, same = again.verify_smoke(row, now, folder, twin), "as recorded"
    if changed and before is not None:
        changed, same = again.verify_before(row, now, before, folder, twin), f"as by {before}, not as recorded"
    lines = [f"{row.name}  changed: {line}" for line in changed] or [f"{row.name}  {same}"]
    print("\n".join(lines), flush=True)
    return 1 if changed else 0


def judged_by_rerun(row: Row, now: Current, folder: Path, runs: Path, start: again.Start = again.start) -> int:
    """0 when a rerun of the row agrees with its receipt, 1 when it does not, else the exit code it ended with."""
    run_dir = again.free_run_dir(runs / f"{row.name}-verify", now)
    found = again.verify(row, now, run_dir, folder, start)
    if isinstance(found, int):
        print(f"results: {row.name}: the run ended with exit code {found}.", file=sys.stderr)
        return found
    print("\n".join(comparison.line for comparison in found), flush=True)
    return 1 if any(comparison.agreement == "outside" for comparison in found) else 0


def _export(rows: Sequence[Row], kind: str, wanted: Sequence[str], folder: Path) -> int:
    named = again.chosen(rows, wanted)
    for row in named:
        if not path_of(row, folder).exists():
            raise UsageError(f"{row.name}: has no receipt yet; make it with python -m results reproduce {row.name}.")
    # of all rows: some are judged by the receipt of another
    receipts = receipts_of(rows, folder)
    some = named or rows
    print(EXPORTS[kind](some, receipts, current(some)), end="")
    return 0


def _report(rows: Sequence[Row], run_dirs: Sequence[Path], output: Path, title: str | None, folder: Path) -> int:
    check_output(output)
    if run_dirs:
        found, unreadable = read_runs(run_dirs)
        for reason in unreadable.values():
            print(f"results: {shown(reason)}", file=sys.stderr)
        if not found:
            return UsageError.exit_code
        content = report_of_runs(found, unreadable, title)
    else:
        content = report_of_results(rows, current(rows), folder, title)
    print(f"{write_report(output, content)} {output}, {len(content.encode()) / 1e6:.1f} MB")
    return 0


def _drift(old: Path, new: Path, wanted: Sequence[str], folder: Path) -> int:
    """1 when a smoke run does not end under one of both; differences alone are shown, and no fault."""
    known = names()
    for name in wanted:
        if name not in known:
            raise UsageError(unknown_name(name, known))
    receipt = drift.drift(old, new, wanted or known)
    if not wanted:
        drift.write(folder, receipt)
        print(f"wrote {folder / 'drift.json'}\nwrote {folder / 'drift.md'}")
    failed = drift.failures(receipt)
    print("\n".join(failed), end="\n" if failed else "", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
