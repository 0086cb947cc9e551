"""What the gate requires of a candidate."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """What the gate requires of a candidate."""

    delta: float = 2.0
    """Largest loss of balanced accuracy, percentage points, with 95 % confidence: the mean over the tasks that the
    champion knows."""
    delta_task: float = 3.0
    """Largest loss on each of these tasks, where there are several. A smaller one than `delta` counts as `delta`."""
    false_alarms: float = 10.0
    """Largest share of real test pictures that the candidate calls fake, percent. A champion that is above it may be
    replaced by a candidate with at most `delta` points more."""
    cases: str = "cases"
    """Folder of reported pictures, with the table `cases.csv` of the right answers, relative to the project."""

    def loosened(self) -> list[str]:
        """Return each limit that is wider than the default, in words."""
        limits = {limit.name: (getattr(self, limit.name), limit.default) for limit in fields(self)
                  if limit.name != "cases"}
        return [f"{name} {value:g} instead of {default:g}" for name, (value, default) in limits.items()
                if value > default]

    def allowed_loss(self, tasks: int) -> float:
        """Return the largest loss on each of this number of old tasks, percentage points."""
        return self.delta if tasks == 1 else max(self.delta, self.delta_task)

    def __post_init__(self) -> None:
        if not 0 < self.delta < 100:
            raise ValueError("delta between 0 and 100 percentage points")
        if not 0 < self.delta_task < 100:
            raise ValueError("delta_task between 0 and 100 percentage points")
        if not 0 <= self.false_alarms <= 100:
            raise ValueError("false_alarms between 0 and 100 percent")
