"""Code in the documentation runs and prints what the documentation says; links lead to existing files and headings."""

import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def _anchors(page):
    """Return the anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    # Links to pages and pictures of the project.
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text(encoding="utf-8"))
    for path, anchor in links:
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), path
        assert not anchor or anchor in _anchors(there), f"{path}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tests_that_a_page_names_are_there(page):
    for path in re.findall(r"`(tests/[^`\s]+)`", page.read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), path


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "error::mlpgpu.OwnFunctionWarning")
def test_the_worked_example_prints_what_it_says(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib", reason="Matplotlib is not installed")
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "estimators.md").read_text(encoding="utf-8")
    scope = {}
    for code, said in re.findall(r"```python\n(.*?)```(?:\n\n```\n(.*?)```)?", text, re.DOTALL):
        exec(code, scope)
        out = capsys.readouterr().out
        if said:
            # Another BLAS rounds differently, and after hundreds of steps a few predictions differ.
            expected, found = ([float(x) for x in re.findall(r"\d\.\d+", words)] for words in (said, out))
            assert found == pytest.approx(expected, abs=0.03)
    # The loop over epochs and the fit that replaces it end with the same weights.
    np.testing.assert_allclose(scope["best"].coefs_[0], scope["fitted"].coefs_[0], rtol=0, atol=1e-9)
    # The validation rows went through the pipeline's own transformations.
    assert scope["pipeline"].score(scope["X_own"], scope["y_val"]) == scope["pipeline"][-1].best_validation_score_
    assert (tmp_path / "rare-class.png").stat().st_size > 10_000


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_run_is_resumed_as_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(code, {})
    for folder in ("kept", "fit"):
        assert {path.name for path in (tmp_path / folder).iterdir()} >= {"last.safetensors", "previous.safetensors"}
