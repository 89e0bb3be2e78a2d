"""The trials' one front end: `python -m tests.trials NAME --minutes 20 --seed N --state FILE`.

A trial is a function(seed, seconds) that tries things at random for about so long, and returns what
it found, each finding a text that says how to repeat it. Add one to the table; the front end runs
it in turns, each with the next seed, prints the seeds, and goes on from the state file's last turn.
"""

from __future__ import annotations

import argparse
import json
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.trials import files, processes, programs, wrong_calls

ATTEMPTS = 100_000  # of one seed, at most: attempt k of seed s has the number s * ATTEMPTS + k


def repeated(attempt: Callable[[int], str | None]) -> Callable[[int, float], list[str]]:
    """Return the trial that makes attempts, each with a number of its own, while there is time."""

    def trial(seed: int, seconds: float) -> list[str]:
        found = []
        ends = time.monotonic() + seconds
        for number in range(seed * ATTEMPTS, (seed + 1) * ATTEMPTS):
            try:
                what = attempt(number)
            except Exception:
                what = traceback.format_exc()
            if what is not None:
                found.append(f"attempt({number}): {what}")
            if time.monotonic() > ends:
                break
        return found

    return trial


TRIALS: dict[str, Callable[[int, float], list[str]]] = {
    "wrong_calls": wrong_calls.trial,
    "programs": repeated(programs.attempt),
    "files": repeated(files.attempt),
    "forks": repeated(partial(processes.attempt, processes.FORKS)),
    "signals": repeated(partial(processes.attempt, processes.SIGNALS)),
    "threads": repeated(partial(processes.attempt, processes.THREADS)),
}
TURN = 60.0  # seconds with one seed: what an interruption loses at most


def main() -> int:
    """Run the trials that are named, all by default; 1 if they found something."""
    parser = argparse.ArgumentParser(prog="python -m tests.trials", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TRIALS)}")
    parser.add_argument("--minutes", type=float, default=1.0, help="for each trial")
    parser.add_argument("--seed", type=int, default=0, help="of the first turn")
    parser.add_argument("--state", type=Path, help="go on from this file, and keep it up to date")
    options = parser.parse_args()
    unknown = set(options.names) - set(TRIALS)
    if unknown:
        parser.error(f"no trial {', '.join(sorted(unknown))}; there are {', '.join(TRIALS)}")
    done: dict[str, float] = {}
    if options.state is not None and options.state.exists():
        done = json.loads(options.state.read_text(encoding="utf-8"))
    count = 0
    for name in options.names or TRIALS:
        seed, left = options.seed, 60.0 * options.minutes
        while left > 0:
            turn, start = f"{name} {seed}", time.monotonic()
            took = done.get(turn)
            if took is None:
                found = TRIALS[name](seed, min(TURN, left))
                took, count = time.monotonic() - start, count + len(found)
                print(f"{name}: seed {seed}: {len(found)} findings", *found, sep="\n  ", flush=True)
                if not found:  # what found something is tried again
                    done[turn] = took
                    if options.state is not None:
                        options.state.write_text(json.dumps(done), encoding="utf-8")
            seed, left = seed + 1, left - took
    return 1 if count else 0


if __name__ == "__main__":
    raise SystemExit(main())
