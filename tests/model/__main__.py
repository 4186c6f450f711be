"""Run the model of a job's life, with a table of what came of it and a trace to whatever breaks.

python -m tests.model            each decision left out, then the protocol in all scenes
python -m tests.model SCENE …    those scenes alone
python -m tests.model --without DECISION SCENE …
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.model import scenes
from tests.model.checker import Report
from tests.model.job import check
from tests.model.protocol import FULL, INVARIANTS, Protocol, Scene

WIDTH = 44


def without(decision: str) -> Protocol:
    return FULL._replace(**{decision: False})


def is_needed(decision: str) -> bool:
    """Whether the protocol without that decision breaks what `scenes.NEEDED` says."""
    need = scenes.NEEDED[decision]
    report = check(without(decision), need.scene, until=need.broken, behind=need.behind)
    return need.broken in report.broken


def judge(short: bool) -> tuple[str, list[str]]:
    """Figures of everything (or of the small scenes), and what is wrong."""
    problems = [f"the model holds without {decision}" for decision in scenes.NEEDED if not is_needed(decision)]
    states = 0
    wanted = scenes.SMALL if short else {**scenes.SMALL, **scenes.LARGE}
    for title, scene in wanted.items():
        report = check(FULL, scene)
        states += report.states
        problems += [f"{title}: {name} broken by {'; '.join(trace)}" for name, trace in report.broken.items()]
        if not report.is_complete:
            problems.append(f"{title}: not explored to its end")
    return f"{len(wanted)} scenes, {states:,} states, {len(scenes.NEEDED)} decisions needed", problems


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description="Explore the model of a job's life.")
    every = {**scenes.SMALL, **scenes.LARGE}
    parser.add_argument("scenes", nargs="*", metavar="SCENE", help=", ".join(every))
    parser.add_argument("--without", metavar="DECISION", choices=Protocol._fields, help="leave out that decision")
    options = parser.parse_args(arguments)
    protocol = without(options.without) if options.without else FULL
    print(f"{'scene':<{WIDTH}} {'result':<12} {'states':>9} {'steps':>9} {'depth':>5} {'seconds':>7}")
    code = 0
    if not options.scenes and protocol == FULL:
        for decision, need in scenes.NEEDED.items():
            code |= _run_needed(decision, need)
    for title in options.scenes or every:
        code |= _run(title, protocol, every[title])
    return code


def _run_needed(decision: str, need: scenes.Need) -> int:
    begun = time.monotonic()
    report = check(without(decision), need.scene, until=need.broken, behind=need.behind)
    is_broken = need.broken in report.broken
    _print(f"without {decision}", f"breaks {need.broken}" if is_broken else "NOT NEEDED", report, begun)
    return not is_broken


def _run(title: str, protocol: Protocol, scene: Scene) -> int:
    begun = time.monotonic()
    report = check(protocol, scene)
    _print(title, "holds" if report.is_sound else ", ".join(report.broken) or "NOT ALL", report, begun)
    for name, trace in report.broken.items():
        print(f"\n  {name}, {INVARIANTS[name]}, broken by:", *trace, sep="\n    ", end="\n\n", flush=True)
    return not report.is_sound


def _print(title: str, result: str, report: Report, begun: float) -> None:
    size = f"{report.states:>9,} {report.steps:>9,} {report.depth:>5} {time.monotonic() - begun:>7.1f}"
    print(f"{title:<{WIDTH}} {result:<12} {size}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
