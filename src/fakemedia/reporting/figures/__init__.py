"""Every figure of the report, drawn from its tables by a pure function."""

from fakemedia.reporting.figures.matrices import matrix_figure
from fakemedia.reporting.figures.method_comparison import curve_figure, group_figure, real_fake_figure, task_figure
from fakemedia.reporting.figures.robustness_curves import robustness_figure
from fakemedia.reporting.figures.scores import calibration_figure, histogram_figure, roc_figure
from fakemedia.reporting.figures.training import training_figure

__all__ = [
    "calibration_figure",
    "curve_figure",
    "group_figure",
    "histogram_figure",
    "matrix_figure",
    "real_fake_figure",
    "robustness_figure",
    "roc_figure",
    "task_figure",
    "training_figure",
]
