"""`python -m benchmarks`: run, print one table, write the results down."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import machine, report, suite
from benchmarks.places import NAMES
from benchmarks.session import FULL, QUICK, TOY

_SIZES = {sizes.name: sizes for sizes in (FULL, QUICK, TOY)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as the options say; 0."""
    options = _parser().parse_args(arguments)
    results = report.Results.load(options.show) if options.show else _measure(options)
    print(report.text(results.rows))
    is_whole = results.sizes == "full" and not options.only and not options.show
    if options.document or (is_whole and report.DOCUMENT.exists()):
        report.rewrite(report.DOCUMENT, results)
    return 0


def _measure(options: argparse.Namespace) -> report.Results:
    sizes = _SIZES["quick" if options.quick else options.sizes]
    chosen = [one for one in suite.SUITE if not options.only or one.name in options.only]
    if options.peers or (options.only and suite.PEERS.name in options.only):
        chosen.append(suite.PEERS)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is cleaned up
    about = machine.describe()
    patience = options.patience if options.patience is not None else (30.0 if sizes is FULL else 0.0)
    path = options.out or report.file_of(about["kind"], sizes.name)
    results = report.Results(f"{datetime.now(UTC):%Y-%m-%d}", sizes.name, about, ())
    if path.exists():
        again = {one.name for one in chosen}
        old = report.Results.load(path).rows
        results = replace(results, rows=tuple(row for row in old if not (row.skipped and row.name in again)))
    for row in suite.run(chosen, sizes, options.on or NAMES, patience):
        results = results.with_row(row)
        results.save(path)  # each time: a run that is cut short has not been for nothing
    print(f"# wrote {path}", file=sys.stderr)
    return results


def _parser() -> argparse.ArgumentParser:
    names = [one.name for one in (*suite.SUITE, suite.PEERS)]
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller sizes: a few minutes")
    parser.add_argument("--sizes", choices=_SIZES, default="full", help="default: full; toy only proves that it runs")
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}")
    parser.add_argument("--peers", action="store_true", help="measure other queues too, as far as they are installed")
    parser.add_argument("--on", action="append", choices=NAMES, help="tmpfs or disk; both if not given")
    parser.add_argument("--patience", type=float, metavar="S", help="wait so long, before a round, for a calm machine")
    parser.add_argument("--out", type=Path, metavar="FILE", help="not benchmarks/results/DATE-MACHINE.json")
    parser.add_argument("--show", type=Path, metavar="FILE", help="measure nothing: print the table of these results")
    parser.add_argument("--document", action="store_true", help="write the figures into benchmarks/results/README.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
