"""Evaluation of the times: valid contestants, medians, ratios and a summary."""

import statistics

from peers.contestants import CONTESTANTS

# Index of the turn whose loss is compared, by lane: the third epoch, and the warm-up of a fit, which is one epoch.
# Rounding errors grow from step to step: up to there they change the loss by at most about one percent, and ten epochs
# later by more than a bug would.
COMPARED, TOLERANCE = {"epoch": 1, "fit": 0}, 0.03
# Lane -> lanes to compare it with. The floor is that of an epoch, since a fit does more.
BESIDE = {"epoch": ("floor", "epoch"), "fit": ("fit",)}


def judge(results):
    """Disqualify each contestant whose loss differs from the median of the peers in its lane.

    Returns
    -------
    float
        Largest relative difference of the contestants that remain.
    """
    farthest = 0.0
    for lane in BESIDE:
        losses = {
            name: result.losses[COMPARED[lane]]
            for name, result in results.items()
            if CONTESTANTS[name].lane == lane and not result.reason
        }
        peers = [loss for name, loss in losses.items() if not CONTESTANTS[name].own]
        farthest = max(farthest, compare(results, losses, peers or losses.values(), TOLERANCE))
    return farthest


def compare(results, losses, expected, tolerance):
    """Disqualify each contestant whose loss differs from the median of those expected.

    Returns
    -------
    float
        Largest relative difference of the contestants that remain.
    """
    farthest = 0.0
    for name, loss in losses.items():
        middle = statistics.median(expected)
        off = abs(loss / middle - 1)
        if off <= tolerance:
            farthest = max(farthest, off)
        else:
            results[name].reason = f"its loss is {loss:.4g}, but {middle:.4g} was expected"
    return farthest


def ratio(results, one, other):
    """Return the median over the rounds of the time ratio of two contestants; None if either does not count."""
    if not (counts(results, one) and counts(results, other)):
        return None
    pairs = zip(results[one].seconds, results[other].seconds, strict=True)
    return statistics.median(ours / theirs for ours, theirs in pairs)


def counts(results, name):
    """Whether the contestant has valid times."""
    return name in results and not results[name].reason


def tables(played):
    """Yield Markdown lines of seconds, ratios and disqualifications; `played` is a list of (problem, results)."""
    names = [name for name in CONTESTANTS if any(counts(results, name) for _, results in played)]
    yield from _table(
        "seconds per epoch, median (least to most)",
        [problem.name for problem, _ in played],
        [(CONTESTANTS[name].label, [_seconds(results, name) for _, results in played]) for name in names],
    )
    pairs = [
        (one, other)
        for one in names
        for other in names
        if CONTESTANTS[one].own and not CONTESTANTS[other].own
        if CONTESTANTS[other].lane in BESIDE[CONTESTANTS[one].lane]
    ]
    if pairs:
        yield ""
        yield from _table(
            "ratio, median of the rounds",
            [problem.name for problem, _ in played],
            [
                (
                    f"{CONTESTANTS[one].label} / {CONTESTANTS[other].label}",
                    ["" if (value := ratio(results, one, other)) is None else f"{value:.2f}" for _, results in played],
                )
                for one, other in pairs
            ],
        )
    yield ""
    yield from _not_counted(played)


def fastest(results, names):
    """Return the name of the fastest valid contestant of `names`; None if there is none."""
    medians = {name: statistics.median(results[name].seconds) for name in names if counts(results, name)}
    return min(medians, key=medians.get, default=None)


def finding(played):
    """Summarise the times in a sentence."""
    lane = [name for name, known in CONTESTANTS.items() if known.lane == "epoch"]
    ours = [name for name in lane if CONTESTANTS[name].own]
    peers = [name for name in lane if name not in ours]
    own = next((name for name in ours if any(counts(results, name) for _, results in played)), None)
    if own is None:
        return "Seconds of a training epoch"
    rivals = [(results, fastest(results, peers)) for _, results in played]
    over = [(value, rival) for results, rival in rivals if (value := ratio(results, own, rival)) is not None]
    if not over:
        floors = [value for _, results in played if (value := ratio(results, own, "floor")) is not None]
        beside = f": an epoch takes {_span(floors)} times as long as its matrix products alone" if floors else ""
        return f"{CONTESTANTS[own].label}{beside}"
    won = sum(value < 1 for value, _ in over)
    who = " or ".join(dict.fromkeys(CONTESTANTS[rival].label for _, rival in over))
    return (
        f"{CONTESTANTS[own].label} is fastest in {won} of {len(over)} cases: "
        f"its epoch time is {_span([value for value, _ in over])} times the fastest peer's ({who})"
    )


def _not_counted(played):
    where = {}
    for problem, results in played:
        for name, result in results.items():
            if result.reason:
                where.setdefault(f"{CONTESTANTS[name].label}: {result.reason}", []).append(problem.name)
    for who, names in where.items():
        places = "" if len(names) == len(played) else " at " + " and ".join(names)
        yield f"- not counted{places}: {who}"


def _span(values):
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


def _seconds(results, name):
    if not counts(results, name):
        return ""
    seconds = results[name].seconds
    return f"{statistics.median(seconds):#.3g} ({min(seconds):#.3g} to {max(seconds):#.3g})"


def _table(corner, heads, rows):
    for line in (corner, heads), ("---", ["---"] * len(heads)), *rows:
        first, cells = line
        yield f"| {' | '.join([first, *cells])} |"
