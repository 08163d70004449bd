"""What verbs return: plans and runs, with a short text for people and the values for programs."""

from __future__ import annotations

from gristmill.errors import CheckFailed
from gristmill.model.findings import Finding
from gristmill.run.planned import Plan, Step
from gristmill.run.records import RunRecord


class PlanResult:
    """What a run would do; iterate over its ``steps``."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps, inputs first."""
        return self.plan.steps

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return self.plan.empty

    def __repr__(self) -> str:
        lines = [f"{step.name}  {step.mode}  {step.reason}" for step in self.steps]
        return "\n".join([f"plan on {self.plan.on} at {self.plan.commit[:7]}", *lines])


class RunResult:
    """What became of a run."""

    def __init__(self, record: RunRecord) -> None:
        self.record = record

    @property
    def ok(self) -> bool:
        """Whether the branch is up to date now."""
        return self.record.status in ("published", "unchanged")

    @property
    def commit(self) -> str | None:
        """The commit that the branch is at now, or None where the run was kept aside."""
        return self.record.head

    @property
    def run(self) -> str:
        """Name of the run, ``run/N``; empty where there was nothing to do."""
        return self.record.run

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Every finding of every table."""
        return self.record.findings

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The findings that forbade publishing."""
        return tuple(finding for finding in self.findings if finding.blocks)

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """Metrics of the models that were trained, by model."""
        return self.record.metrics

    def raise_if_failed(self) -> None:
        """Raise CheckFailed with the first failures where the run was not published."""
        if not self.ok:
            first = self.failures[0] if self.failures else None
            raise CheckFailed(
                self.record.message or "the run was not published",
                where=f"{first.table} {first.rule.code}" if first else self.record.run,
                examples=[str(example) for example in first.examples] if first else (),
                hint=f"gristmill show {self.record.run} --failed",
            )

    def __repr__(self) -> str:
        at = f" at {self.commit[:7]}" if self.commit else ""
        return f"<run {self.run or '(nothing to do)'} {self.record.status} on {self.record.on}{at}>"
