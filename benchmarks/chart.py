"""Draws the benchmark's chart from JSON on standard input. Runs in the benchmark's own environment."""

from __future__ import annotations

import json
import sys

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

OURS, OTHERS = "#017cee", "#b8bfc9"


def main() -> None:
    """One panel a group, a bar a case."""
    groups = json.load(sys.stdin)
    figure, axes = pyplot.subplots(
        len(groups), 1, figsize=(8.5, 1.1 + 0.42 * sum(len(group["cases"]) + 1.4 for group in groups)),
        gridspec_kw={"height_ratios": [len(group["cases"]) + 0.6 for group in groups]}, squeeze=False,
    )  # fmt: skip
    for axis, group in zip(axes[:, 0], groups, strict=True):
        cases = group["cases"][::-1]
        bars = axis.barh([case[0] for case in cases], [case[1] for case in cases],
                         color=[OURS if case[2] else OTHERS for case in cases], height=0.7)  # fmt: skip
        axis.bar_label(bars, [f" {case[1]:,.0f}" for case in cases], fontsize=9)
        axis.set_title(f"{group['title']}, events a second", loc="left", fontsize=10, fontweight="bold")
        axis.set_xlim(0, max(case[1] for case in cases) * 1.15)
        axis.xaxis.set_visible(False)
        axis.spines[["top", "right", "bottom", "left"]].set_visible(False)
        axis.tick_params(axis="y", length=0, labelsize=9)
    figure.tight_layout()
    figure.savefig(sys.argv[1], dpi=130)


if __name__ == "__main__":
    main()
