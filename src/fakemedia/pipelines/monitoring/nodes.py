"""Nodes of the monitoring pipeline."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from fakemedia.monitoring.monitoring_config import MonitoringConfig
    from fakemedia.monitoring.timeline import Stream
    from fakemedia.reporting.rendering import RenderedFigure


def judge_windows(config: MonitoringConfig, log: Path, before: pd.DataFrame, reference: pd.DataFrame
                  ) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the windows `before` and the `reference`, both extended by the new rows of the log.

    Of the detector that scored last: all sources together, and, if there are several, each large one separately.
    """
    from fakemedia.monitoring.timeline import Stream, judge
    from fakemedia.serving.log import count_sources, last_detector

    detector = last_detector(log)
    if detector is None:
        return judge([], partial(_windows, log, config), config, before, reference)
    counts = count_sources(log, detector=detector, since=config.begin)
    large = [name for name, count in counts.items() if count >= config.window][:config.sources]
    sources = large if len(counts) > 1 else []
    streams = [Stream(detector=detector, source=source) for source in (None, *sources)]
    return judge(streams, partial(_windows, log, config), config, before, reference)


def _windows(log: Path, config: MonitoringConfig, stream: Stream, after: int) -> Iterator[pd.DataFrame]:
    from fakemedia.serving.log import read_windows

    return read_windows(log, config.window, detector=stream.detector, source=stream.source, since=config.begin,
                        after=after)


def draw_timeline(windows: pd.DataFrame) -> list[RenderedFigure]:
    """Return the figure of every statistic over the windows; none before the first window is judged."""
    from fakemedia.monitoring.monitoring_page import draw_timeline

    return draw_timeline(windows)


def write_monitoring_page(config: MonitoringConfig, windows: pd.DataFrame, timeline: list[RenderedFigure]) -> str:
    """Return windows and alarms as one self-contained HTML page."""
    from fakemedia.monitoring.monitoring_page import monitoring_page

    return monitoring_page(windows, timeline, config)
