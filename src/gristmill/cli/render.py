"""Draw events for people, one line per stage, and refusals as a person needs them."""

from __future__ import annotations

from gristmill.cli.output import count, emit_struct, is_terminal, say
from gristmill.model.events import (
    Assumed,
    Event,
    Found,
    Listener,
    NothingToDo,
    Progress,
    Published,
    Retrying,
    RunFailed,
    RunStarted,
    StageFinished,
    StageStarted,
    Trained,
    UnitLanded,
)
from gristmill.model.findings import Finding


def listener(*, as_json: bool, quiet: bool = False) -> Listener:
    """Return what draws events: JSON lines on stdout, or lines on stderr."""
    if as_json:
        return emit_struct
    return Terminal(quiet=quiet)


class Terminal:
    """Writes one line per finished stage; on a terminal also a moving line for the stage at work."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.live = is_terminal() and not quiet
        self.run = ""
        self.refused: list[Finding] = []
        self.kinds: dict[str, str] = {}

    def __call__(self, event: Event) -> None:
        """Draw one event."""
        if isinstance(event, Progress | StageStarted):
            self._progress(event)
        elif isinstance(event, Found):
            self._found(event.finding)
        elif isinstance(event, RunFailed):
            self._failed(event)
        elif not self.quiet:
            text = _line(event)
            if text:
                self._say(text)
        if isinstance(event, RunStarted):
            self.run = event.run
        if isinstance(event, StageStarted):
            self.kinds[event.name] = event.kind

    def _say(self, text: str) -> None:
        say(("\r\x1b[K" if self.live else "") + text)

    def _progress(self, event: Progress | StageStarted) -> None:
        if not self.live:
            return
        words = f"  {event.name} ..."
        if isinstance(event, Progress):
            share = f", {event.bytes / event.total_bytes:.0%}" if event.total_bytes else ""
            words = f"  {event.name} {count(event.rows, 'row')}{share}"
        import sys

        sys.stderr.write("\r\x1b[K" + words)
        sys.stderr.flush()

    def _found(self, finding: Finding) -> None:
        if finding.blocks:
            self.refused.append(finding)
        elif not self.quiet:
            self._say(finding_line(finding))

    def _failed(self, event: RunFailed) -> None:
        for finding in self.refused[:3]:
            self._say(refusal(finding, event, source=self.kinds.get(finding.table) == "source"))
        if len(self.refused) > 3:
            self._say(f"and {len(self.refused) - 3} more: gristmill show {event.run} --failed")
        if not self.refused:
            self._say(f"{event.on} is unchanged at {event.head[:7]}; what was finished is kept on {event.run}")


def _line(event: Event) -> str:
    if isinstance(event, RunStarted):
        return f"{event.run} on {event.on} from {event.base[:7]}"
    if isinstance(event, Assumed):
        return f"  assumed  {event.name}: {event.text}"
    if isinstance(event, UnitLanded):
        return f"  landed   {event.unit}  {_ledger_words(event)}"
    if isinstance(event, Trained):
        metrics = "  ".join(f"{name} {value:.4f}" for name, value in event.metrics.items())
        return f"  trained  {event.name}  {metrics}"
    if isinstance(event, StageFinished):
        rows = "" if event.kind == "model" else count(event.rows, "row")
        return f"  {event.mode:<8} {event.name}  {rows}  {event.wall_s:.1f} s  ({event.note})"
    if isinstance(event, Retrying):
        return f"  again    {event.name}  in {event.wait_s:.1f} s: {event.message}"
    if isinstance(event, Published):
        return f"published {event.on} at {event.commit[:7]}    undo: {event.undo}"
    if isinstance(event, NothingToDo):
        held = f"; held: {', '.join(event.held)}" if event.held else ""
        if event.gone:
            held += f"; gone from its source, rows kept: {', '.join(event.gone)}"
        if event.waiting:
            return f"nothing to do: nothing has arrived yet for {', '.join(event.waiting)}{held}    see: gristmill plan"
        return f"nothing to do: {event.on} is up to date at {event.commit[:7]}{held}"
    return ""


def _ledger_words(event: UnitLanded) -> str:
    ledger = event.ledger
    parts = [count(ledger.delivered, "row")]
    for number, word in (
        (ledger.quarantined, "set aside"),
        (ledger.duplicate, "replaced or double"),
        (ledger.late, "late"),
        (ledger.dropped, "dropped by policy"),
    ):
        if number:
            parts.append(f"{number:,} {word}")
    return ", ".join(parts)


def finding_line(finding: Finding) -> str:
    """Write a finding that does not block in one line."""
    rule = finding.rule
    if finding.accepted:
        return f"  accepted {finding.table} {rule.code}: {finding.accepted}"
    word = "aside" if finding.quarantined else "warn"
    number = f"{finding.failed_rows:,} of {finding.checked_rows:,} rows" if finding.failed_rows else finding.observed
    example = f"; {finding.examples[0]}" if finding.examples else ""
    note = f" ({finding.note})" if finding.note else ""
    return f"  {word:<8} {finding.table}  {finding.words}: {number}{note}{example}"


def refusal(finding: Finding, failed: RunFailed, *, source: bool = False) -> str:
    """Write a refusal: what, where, how many and since when, three examples, what is unchanged, and what to type.

    Args:
        finding: what was refused.
        failed: the run that ended with it.
        source: whether the table is a source, whose stored rows can be set aside by hand.
    """
    rule = finding.rule
    place = ", ".join(part for part in (rule.origin, f"owner {rule.owner}" if rule.owner else "") if part)
    head = f"blocked  {finding.table}   rule {finding.words}" + (f"   ({place})" if place else "")
    number = f"{finding.failed_rows:,} of {finding.checked_rows:,} rows" if finding.failed_rows else finding.observed
    seen = "; ".join(part for part in (number, finding.since, _places(finding), finding.note) if part)
    lines = [f"{head}   [{_code(finding)}]", f" {seen or 'it could not be looked at'}"]
    if finding.examples:
        lines.append(" " + " | ".join(str(example) for example in finding.examples))
    lines.append(
        f" {failed.on} is unchanged at {failed.head[:7]}; your result waits on {failed.run}; retrying will not help"
    )
    lines.append(f" see: gristmill show {failed.run} --failed")
    lines += _set_aside(finding, failed, source)
    lines.append(
        f" accept: gristmill publish {failed.run} --accept {_word(f'{rule.code}@{finding.table}')} "
        '--because "..." --until DATE'
    )
    return "\n".join(lines)


def _places(finding: Finding) -> str:
    """Write where failing rows come from: lines by file, as far as examples know, and how many more there are."""
    lines: dict[str, list[str]] = {}
    for example in finding.examples:
        if example.origin:
            unit, _, line = example.origin.rpartition(":")
            lines.setdefault(unit or example.origin, []).append(line if unit else "")
    if not lines:
        return ""
    words = ", ".join(f"{unit}:{','.join(known)}".rstrip(":") for unit, known in lines.items())
    more = finding.failed_rows - len(finding.examples)
    return f"from {words}" + (f" (+{more:,})" if more > 0 else "")


def _set_aside(finding: Finding, failed: RunFailed, source: bool) -> list[str]:
    """Write the command that sets the rows aside, for a rule that can tell them from the others."""
    from gristmill.contracts.kinds import ROW_KINDS
    from gristmill.contracts.masks import breach
    from gristmill.run.records import names_rows
    from gristmill.run.sightings import FIRST

    if not names_rows(finding):
        return []
    if source and finding.since not in ("", FIRST) and finding.rule.kind in ROW_KINDS:
        where = _word(breach(finding.rule, {}))
        on = "" if failed.on == "main" else f" --on {failed.on}"
        return [f' set aside: gristmill quarantine add {finding.table} --where {where} --because "..."{on}']
    wanted = _word(f"{finding.rule.code}@{finding.table}")
    return [f' set aside: gristmill publish {failed.run} --set-aside {wanted} --because "..."']


def _word(text: str) -> str:
    """Quote a word for a shell, where it needs it."""
    import shlex

    return shlex.quote(text)


def _code(finding: Finding) -> str:
    return {"fail": "GM-C001", "error": "GM-C002", "not_checked": "GM-C003"}.get(finding.outcome, "GM-C001")
