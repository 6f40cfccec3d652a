"""Plot the microseconds per step: a bar for each contestant, a panel for each race."""

import statistics

from peers.figures import counts

from gpu.contestants import CONTESTANTS
from gpu.races import RACES, steps
from mlpgpu import plots


def draw(played, n_rows, title, note, path):
    """Write the PNG; `played` is a dict of race -> results, for epochs of `n_rows` rows."""
    groups = {race: times for race in RACES if (times := _times(played.get(race.name, {}), steps(race, n_rows)))}
    if not groups:
        return
    lengths = [len(group) for group in groups.values()]
    figure = plots.new_figure((10, 1.6 + 0.42 * sum(length + 1.6 for length in lengths)), title)
    panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=[length + 0.8 for length in lengths])[:, 0]
    for axes, (race, group) in zip(panels, groups.items(), strict=True):
        _panel(axes, race, group)
    panels[-1].set_xlabel("microseconds per step; each panel has its own scale")
    plots.note(figure, f"bars: medians; lines: least to most; {note}")
    plots.save(figure, path)


def _times(results, n_steps):
    """Return name -> microseconds per step in each round, the fastest first."""
    found = {
        name: [1e6 * seconds / n_steps for seconds in result.seconds]
        for name, result in results.items()
        if counts(results, name)
    }
    return dict(sorted(found.items(), key=lambda pair: statistics.median(pair[1])))


def _panel(axes, race, group):
    own = statistics.median(group["captured"]) if "captured" in group else None
    for place, (name, times) in enumerate(group.items()):
        known, middle = CONTESTANTS[name], statistics.median(times)
        axes.barh(place, middle, 0.7, color=known.color, alpha=1 if known.own else 0.75)
        axes.plot([min(times), max(times)], [place, place], color=plots.INK, lw=1.5)
        beside = "" if own is None or name == "captured" else f", {middle / own:.2f} times ours"
        shown = f"{middle:,.0f}" if middle >= 100 else f"{middle:.3g}"
        axes.annotate(
            shown + beside, (max(times), place), (6, 0), textcoords="offset points", va="center",
            fontsize=plots.SMALL, color=plots.INK,
        )  # fmt: skip
    axes.set_title(race.name, loc="left", fontsize=plots.TEXT, color=plots.INK)
    axes.set_yticks(range(len(group)), [CONTESTANTS[name].label for name in group])
    axes.set_xlim(0, 1.3 * max(map(max, group.values())))
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.locator_params(axis="x", nbins=6)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.grid(axis="x", color=plots.FAINT, lw=0.7)
    axes.spines[:].set_visible(False)
