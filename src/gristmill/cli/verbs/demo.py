"""``gristmill demo``: the tour on real flights, every command printed before its output."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import click

_LAST_FIELDS = "s/,([0-9]+),([0-9]+),([0-9]+),([^,]+)$"
_PLAIN_PANDAS = (
    "import sys; sys.modules['gristmill'] = None; import pandas; "
    "print(pandas.read_parquet('flights.parquet').head(3).to_string())"
)

TOUR: list[tuple[str, list[tuple[str, int]]]] = [
    (
        "January to March have landed. One weather row claims a wind of 1,048 mph: it is set aside, with its line.",
        [("gristmill plan", 0), ("gristmill run", 0), ("gristmill quarantine list raw.weather", 0)],
    ),
    ("A second run finds nothing to do.", [("gristmill run", 0)]),
    (
        "April arrives: one new unit. What does not depend on flights is reused.",
        [("cp more/2013-04.csv landing/flights/", 0), ("gristmill plan", 0), ("gristmill run", 0)],
    ),
    (
        "Upstream turns a number into text. Refused; main is unchanged.",
        [
            (f"sed -E '2,${_LAST_FIELDS}/,\\1 miles,\\2,\\3,\\4/' more/2013-04.csv > landing/flights/2013-07.csv", 0),
            ("gristmill run", 1),
        ],
    ),
    (
        "Upstream floods a column with nulls. Refused; main is unchanged.",
        [
            (f"sed -E '2,${_LAST_FIELDS}/,NA,\\2,\\3,\\4/' more/2013-04.csv > landing/flights/2013-07.csv", 0),
            ("gristmill run", 1),
            ("rm landing/flights/2013-07.csv", 0),
        ],
    ),
    (
        "A partner's feed passes every rule, but the sign of arr_delay is turned. On a branch, the held metric tells.",
        [
            ("cp more/partner.csv landing/flights/", 0),
            ("gristmill run --on try/partner", 0),
            ("gristmill diff main try/partner --metrics", 0),
            ("gristmill log --on try/partner", 0),
            ("gristmill revert try/partner --on try/partner", 0),
            ("gristmill run --on try/partner", 0),
        ],
    ),
    (
        "A prediction, back to the line it came from, and computed again from only that.",
        [
            ("gristmill trace predictions.delay --key UA-1545-20130101T10 --replay", 0),
            ("sed -n 2p landing/flights/2013-01.csv", 0),
        ],
    ),
    (
        "The data is yours: a table in plain pandas, where gristmill cannot be imported.",
        [("gristmill export clean.flights flights.parquet", 0), (f'python -c "{_PLAIN_PANDAS}"', 0)],
    ),
]


@click.command("demo")
@click.option(
    "--into",
    default="gristmill-demo",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="folder of the project; must not hold one yet",
)
def command(into: Path) -> int:
    """Run the whole story on real flights: land, check, train, refuse, revert, trace. About two minutes."""
    from gristmill.cli.flights import write_project

    started = time.monotonic()
    click.echo(f"writing the project and its landing files into {into}/ (336,776 flights of 2013)")
    write_project(into)
    for number, (words, commands) in enumerate(TOUR, 1):
        click.echo(f"\n── {number}. {words}")
        for line, expected in commands:
            code = _run(line, into)
            if code != expected:
                click.echo(f"the demo expected exit code {expected} and got {code}", err=True)
                return 3
    click.echo(f"\ndone in {time.monotonic() - started:.0f} s; look around: cd {into} && gristmill show")
    click.echo("now yours: gristmill init --from your.csv")
    return 0


def _run(line: str, folder: Path) -> int:
    """Print a command and run it in the project's folder with this Python and this gristmill."""
    click.echo(f"\n$ {line}")
    sys.stdout.flush()
    script = (
        f'gristmill() {{ "{sys.executable}" -m gristmill "$@"; }}\npython() {{ "{sys.executable}" "$@"; }}\n{line}\n'
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRISTMILL_")}
    done = subprocess.run(["/bin/sh", "-c", script], cwd=folder, env=environment, stderr=subprocess.STDOUT, check=False)
    return done.returncode
