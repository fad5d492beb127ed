"""Pictures of a run: throughput by list size, latency by offered load, the sustained run.

Needs matplotlib (the extra `bench`). Reads the report's rows only; a picture whose rows are missing
is not drawn.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import bench_engine
from benchmarks.report import Report

_SIZE = (10.0, 5.0)
_DPI = 120
_PERCENTILES = (("p50 ms", "-"), ("p99 ms", "--"), ("p99.9 ms", ":"))


def draw(report: Report, directory: Path) -> list[Path]:
    """Write the pictures as PNG files; return where they are.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("Agg")
    directory.mkdir(parents=True, exist_ok=True)
    drawn = (_by_size(report), _by_offered(report), _by_second(report))
    paths = []
    for name, figure in filter(None, drawn):
        paths.append(directory / f"{name}.png")
        figure.savefig(paths[-1], dpi=_DPI)
    return paths


def _axes(title: str, across: str, up: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=across, ylabel=up)
    axes.grid(True, which="major", alpha=0.3)
    return figure, axes


def _plain_numbers(*axes: Any) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    for axis in axes:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        axis.set_minor_formatter(NullFormatter())


def _by_size(report: Report) -> tuple[str, Any] | None:
    """Draw decisions a second against the list's size, a line for each load that has several."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in report.rows("engine"):
        lines.setdefault(row["load"], []).append((row["records"], row["decisions/s"]))
    lines = {load: sorted(points) for load, points in lines.items() if len(points) > 1}
    if not lines:
        return None
    figure, axes = _axes(
        "Durable claims in process, random records", "records in the list", "decisions/s"
    )
    for load, points in lines.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=load)
    axes.set_xscale("log")
    axes.set_yscale("log")
    _plain_numbers(axes.xaxis, axes.yaxis)
    figure.legend(loc="outside right upper")
    return "throughput-by-size", figure


def _by_offered(report: Report) -> tuple[str, Any] | None:
    """Draw latency against the offered load: a colour for each contender."""
    rows = report.rows("engine offered") + report.rows("dial offered")
    contenders = list(dict.fromkeys(row["contender"] for row in rows))
    if not contenders:
        return None
    figure, axes = _axes("Claim at an offered load", "claims due a second", "latency, ms")
    for number, contender in enumerate(contenders):
        points = [row for row in rows if row["contender"] == contender]
        _draw_percentiles(axes, f"C{number}", contender, points)
    axes.set_xscale("log")
    axes.set_yscale("log")
    _plain_numbers(axes.xaxis, axes.yaxis)
    figure.legend(loc="outside right upper")
    return "latency-by-load", figure


def _draw_percentiles(
    axes: Any, colour: str, contender: str, points: Sequence[dict[str, Any]]
) -> None:
    offered = [row["offered/s"] for row in points]
    for name, style in _PERCENTILES:
        axes.plot(
            offered,
            [row[name] for row in points],
            style,
            color=colour,
            marker=".",
            label=f"{contender}, {name.removesuffix(' ms')}",
        )


def _by_second(report: Report) -> tuple[str, Any] | None:
    """Draw the sustained run, second by second."""
    rows = report.rows(bench_engine.SUSTAINED)
    if not rows:
        return None
    figure, axes = _axes(
        f"Sustained, batches of {bench_engine.BATCH:,}, random records of {rows[0]['records']:,}",
        "second",
        "decisions/s",
    )
    seconds = rows[0]["by second"]
    axes.step(range(1, len(seconds) + 1), seconds, where="mid")
    axes.set_ylim(0, 1.1 * max(seconds))
    axes.xaxis.get_major_locator().set_params(integer=True)
    _plain_numbers(axes.yaxis)
    return "sustained", figure
