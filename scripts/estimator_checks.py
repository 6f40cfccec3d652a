"""Run scikit-learn's estimator checks on every setting of tests/estimators/check_grid.py; print a Markdown table."""

import os
import sys
from collections import Counter
from pathlib import Path

# scikit-learn's array API dispatch needs SciPy's, and SciPy reads this variable only when it is imported.
os.environ.setdefault("SCIPY_ARRAY_API", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "estimators"))

from check_grid import GRID, KINDS, run_checks


def main() -> int:
    """Print a row per setting as it completes, then the failures; return their number as the exit status."""
    print("| setting | estimator | checks | passed | skipped | expected failures | failed |")
    print("| --- | --- | --: | --: | --: | --: | --: |")
    failures = []
    for setting, given in GRID.items():
        for kind in KINDS.values():
            results = run_checks(kind(**given))
            n = Counter(result["status"] for result in results)
            counts = [len(results), n["passed"], n["skipped"], n["xfail"], n["failed"]]
            print(f"| `{setting}` | {kind.__name__} | {' | '.join(map(str, counts))} |", flush=True)
            failures += [(setting, kind.__name__, result) for result in results if result["status"] == "failed"]
    for setting, name, result in failures:
        print(f"\n{setting}, {name}, {result['check_name']}: {result['exception']!r}", file=sys.stderr)
    return len(failures)


if __name__ == "__main__":
    sys.exit(main())
