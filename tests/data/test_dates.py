"""Columns of dates: how they are read, encoded and imputed, against Python's own calendar."""

import datetime as dt
import json

import numpy as np
import pytest

from mlpgpu import Config, Model, commands
from mlpgpu.data import columns, load, reading
from mlpgpu.data.remarks import Remarks
from mlpgpu.errors import InputError

pd = pytest.importorskip("pandas")

BERLIN = dt.timezone(dt.timedelta(hours=1))
DAYS = [dt.datetime(2021, 12, 31), dt.datetime(1969, 7, 20), dt.datetime(2024, 2, 29), dt.datetime(1600, 3, 1)]
TIMES = [dt.datetime(2021, 12, 31, 23, 59, 30), dt.datetime(1969, 7, 20, 9, 5), dt.datetime(2024, 2, 29)]


def expected(moments, hours):
    """Return the features by Python's own calendar."""
    epoch = dt.datetime(1970, 1, 1)
    rows = [((m - epoch).total_seconds() / 86400, m.month, m.weekday(), *[m.hour] * hours) for m in moments]
    return np.array(rows)


def encoded(values, impute="none"):
    frame = pd.DataFrame({"sold": values})
    records, notes = columns.fit(frame, impute)
    return columns.encode(frame, json.loads(json.dumps(records))), records, notes


@pytest.mark.parametrize(
    "form",
    ["%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d-%b-%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", " %d/%b/%Y "],
)
def test_text_of_dates_is_read_as_it_is_written(form):
    x, records, notes = encoded([day.strftime(form) for day in DAYS])
    np.testing.assert_array_equal(x, expected(DAYS, False))
    assert columns.feature_names(records) == ("sold", "sold (month)", "sold (weekday)")
    order = {"d": "day", "m": "month", "Y": "year"}[form.strip()[1]]
    assert records == [{"name": "sold", "kind": "date", "fill": None, "first": order, "hours": False}]
    assert notes == ([] if order == "year" else [f"column 'sold' holds dates with the {order} first"])


@pytest.mark.parametrize(
    "form",
    [
        "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H:%M:%SZ", "%d.%m.%Y %H:%M:%S", "%d-%b-%YT%H:%M:%S",
        "%m/%d/%Y %I:%M:%S %p", "%Y/%m/%d %H:%M:%S UTC",
    ],
)  # fmt: skip
def test_times_of_day_are_a_fraction_and_an_hour(form):
    x, records, _ = encoded([time.strftime(form) for time in TIMES])
    np.testing.assert_allclose(x, expected(TIMES, True), rtol=1e-15)
    assert columns.feature_names(records)[3:] == ("sold (hour)",)


@pytest.mark.parametrize("written", ["1/2/2021 3:04 PM", "2021-2-1 15:04", "01-FEB-2021 15:04"])
def test_digits_that_are_left_out(written):
    record = {"name": "sold", "kind": "date", "fill": None, "first": "day", "hours": True}
    found = columns.encode(pd.DataFrame({"sold": [written, "1.2.2021 12:30 am"]}), [record])
    np.testing.assert_array_equal(
        found, expected([dt.datetime(2021, 2, 1, 15, 4), dt.datetime(2021, 2, 1, 0, 30)], True)
    )


def test_zones_are_taken_to_utc():
    zoned = [time.replace(tzinfo=BERLIN) for time in TIMES]
    utc = expected([time - dt.timedelta(hours=1) for time in TIMES], True)
    for values in (
        [time.isoformat() for time in zoned],
        [time.strftime("%d/%m/%Y %H:%M:%S %z") for time in zoned],
        pd.Series(zoned),
        pd.Series(zoned, dtype=object),
        pd.Series(zoned).dt.tz_convert("America/New_York").dt.as_unit("s"),
    ):
        np.testing.assert_allclose(encoded(values)[0], utc, rtol=1e-15)


@pytest.mark.parametrize(
    "values",
    [
        pd.Series(DAYS), pd.Series(DAYS, dtype=object), [day.date() for day in DAYS], pd.Categorical(DAYS),
        pd.Series(DAYS, dtype="datetime64[ms]"),
    ],
    ids=["datetime64", "datetimes", "dates", "categories", "milliseconds"],
)  # fmt: skip
def test_types_of_dates(values):
    x, records, notes = encoded(values)
    np.testing.assert_array_equal(x, expected(DAYS, False))
    assert (records[0]["first"], notes) == ("year", [])


@pytest.mark.parametrize("kind", ["date32", "timestamp"])
def test_dates_of_parquet_and_of_arrow(tmp_path, kind):
    pa = pytest.importorskip("pyarrow")
    dtype = {"date32": pa.date32(), "timestamp": pa.timestamp("us", "Europe/Berlin")}[kind]
    column = pa.array([*DAYS[:3], None], dtype)
    pytest.importorskip("pyarrow.parquet").write_table(pa.table({"sold": column}), tmp_path / "a.parquet")
    record = {"name": "sold", "kind": "date", "fill": -1.5, "first": "year", "hours": True}
    utc = expected([*DAYS[:3], dt.datetime(1969, 12, 30, 12)], True)
    np.testing.assert_array_equal(reading.read_features(tmp_path / "a.parquet", [record]), utc)
    arrow = pd.DataFrame({"sold": pd.Series(pd.array(column, dtype=pd.ArrowDtype(dtype)))})
    np.testing.assert_array_equal(columns.encode(arrow, [record]), utc)
    assert columns.fit(arrow, "none")[0][0] == record | {"fill": None, "hours": False}


@pytest.mark.parametrize("written", ["0001-01-01", "9999-12-31", dt.date(9999, 12, 31), "9999-12-31 23:30-05:00"])
def test_dates_that_are_far_away(written):
    x, _, _ = encoded([written, "2021-12-31"] if isinstance(written, str) else [written, dt.date(2021, 12, 31)])
    assert x[0, 0] == pytest.approx({"0": -719162, "9": 2932896}[str(written)[0]], abs=1.2)


@pytest.mark.parametrize("seconds", [2**62, 10**14, -(10**11)])
@pytest.mark.parametrize("kind", [object, "datetime64[s]"])
def test_dates_that_are_too_far_away(seconds, kind):
    """In microseconds they may overflow 64 bits, which NumPy does not report."""
    values = pd.Series(np.array([0, seconds]).view("datetime64[s]")).astype(kind)
    with pytest.raises(InputError, match="'sold' holds dates, but '.*' in row 2 is not a valid date"):
        encoded(values)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (["01/02/2021", "12/12/2021"], "column 'sold' holds dates that do not tell the day from the month, such as "
         "'01/02/2021' in row 1; write them as 2021-12-31, or leave it out with --drop"),
        (["13/02/2021", "02/13/2021"], "'02/13/2021' in row 2 is not a valid date"),
        (["13/02/2021", "14/02/2021", "02/13/2021"], "'02/13/2021' in row 3 is not a valid date; allowed: dates "
         "as 2021-12-31 or 2021-12-31 09:30, or with the day first; write it so, or leave the column out with --drop"),
        (["2021-12-31", "0000-00-00"], "column 'sold' holds dates, but '0000-00-00' in row 2 is not a valid date"),
        (["2021-12-31", "2021-02-30"], "'2021-02-30' in row 2 is not a valid date"),
        (["31-Dec-21", "01-MAR-20"], "'31-Dec-21' in row 1 is not a valid date"),
        (["2021/12/31 9:05:00 AM GMT+1", "2020/1/2"], "'2021/12/31 9:05:00 AM GMT.1' in row 1 is not a valid date"),
        (["2021-12-31 25:00"], "'2021-12-31 25:00' in row 1 is not a valid date"),
        (["31.12.2021", "12/31/2021"], "'12/31/2021' in row 2 is not a valid date"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("impute", ["none", "mean"])
def test_dates_that_cannot_be_read_are_refused_with_their_row(values, says, impute):
    with pytest.raises(InputError, match=says) as caught:
        columns.fit(pd.DataFrame({"sold": values}), impute)
    assert "\n" not in str(caught.value)


def test_the_training_rows_alone_tell_the_order():
    frame = pd.DataFrame({"sold": ["01/02/2021", "03/04/2021", "31/12/2021", "12/31/2021"]})
    records, _ = columns.fit(frame, "none", rows=np.array([0, 2]))
    assert records[0]["first"] == "day"
    with pytest.raises(InputError, match="'12/31/2021' in row 4 is not .* with the day first; .* or remove such rows"):
        columns.encode(frame, records)
    with pytest.raises(InputError, match="do not tell the day from the month"):
        columns.fit(frame, "none", rows=np.array([0, 1]))


@pytest.mark.parametrize(
    "values", [[20211231, 3], [2021.0, 1], [True, False], ["2021", "x"], [[1], [2]], pd.to_timedelta([1, 2])]
)
def test_what_is_no_date_to_a_model_of_dates(values):
    record = {"name": "sold", "kind": "date", "fill": None, "first": "year", "hours": False}
    with pytest.raises(InputError, match="column 'sold' holds dates, but '.*' in row 1 is not a valid date;"):
        columns.encode(pd.DataFrame({"sold": values}), [record])


def test_dates_are_no_numbers_to_a_model_of_numbers():
    records = columns.numbers(["sold"])
    for values in (pd.Series(DAYS), [day.date() for day in DAYS]):
        with pytest.raises(InputError, match="'sold' holds dates, such as '2021-12-31.*' in row 1; allowed: numbers"):
            columns.encode(pd.DataFrame({"sold": values}), records)


@pytest.mark.parametrize(("impute", "filled"), [("mean", dt.datetime(2021, 1, 5)), ("median", dt.datetime(2021, 1, 3))])
@pytest.mark.parametrize("kind", ["text", "datetime64"])
def test_missing_dates_are_filled_as_numbers_are(impute, filled, kind):
    values = pd.Series(["01.01.2021", "03.01.2021", "11.01.2021", None])
    if kind == "datetime64":
        values = pd.to_datetime(values, dayfirst=True)
    x, records, _ = encoded(values, impute)
    np.testing.assert_array_equal(x[3:], expected([filled], False))
    remarks = Remarks()
    columns.encode(pd.DataFrame({"sold": values}), records, remarks)
    assert remarks.notes() == [f"1 missing value filled: 1 of 'sold' with {filled.date()}"]
    # A chunk of a file may have no dates at all.
    np.testing.assert_array_equal(columns.encode(pd.DataFrame({"sold": [np.nan, None]}), records), x[[3, 3]])
    with pytest.raises(InputError, match=r"missing values in column 'sold' \(1\), the first in row 4; give impute"):
        encoded(values)


@pytest.mark.parametrize(
    "values", [["n/k", "2021-12-31", "2021-12-30"], [*map(str, pd.date_range("2001", periods=1500).date), "n/k"]]
)
def test_dates_among_which_some_are_not_are_named(values):
    try:
        _, said = columns.fit(pd.DataFrame({"sold": values}), "none")
    except InputError as error:
        assert len(values) > 1000
        said = [str(error)]
    share, row = (66, "1") if len(values) == 3 else (99, "1,501")
    assert f"{share}% of them are dates, but 'n/k' in row {row} is not; to have the features of dates, leave" in said[0]


@pytest.fixture
def shop():
    """Orders over four years, with a rising trend and a peak in summer."""
    rng = np.random.default_rng(0)
    moments = np.datetime64("2020-01-01", "h") + rng.integers(0, 4 * 365 * 24, 400)
    moments = pd.Series(moments).dt.floor("D")
    trend = (moments - moments.min()).dt.days / 365
    frame = pd.DataFrame({"ordered": moments, "noise": rng.normal(size=400), "town": rng.choice(["A", "B"], 400)})
    return frame.assign(y=10 * trend + 10 * np.cos((moments.dt.month - 7) / 6 * np.pi) + rng.normal(size=400))


def test_from_training_to_figures(tmp_path, command_of, no_pictures, not_compiled, monkeypatch, shop):
    text = shop.assign(ordered=shop["ordered"].dt.strftime("%d/%m/%Y"))
    text[:300].to_csv(tmp_path / "shop.csv", index=False)
    text[300:].to_csv(tmp_path / "later.csv", index=False)
    command = command_of(commands.app)
    given = "train --dataset shop.csv --target y --hidden 16 --epochs 150 --learning-rate 0.02 --seed 1 --dtype float64"
    code, out, err = command(f"{given} --run-dir with")
    assert (code, err) == (0, "")
    assert "Note      column 'ordered' holds dates with the day first\n" in out
    assert command(f"{given} --run-dir without --drop ordered")[0] == 0
    scores = [json.loads((tmp_path / name / "metrics.json").read_text())["test_r2"] for name in ("with", "without")]
    assert scores[0] > 0.9
    assert scores[1] < 0.1

    model = Model.load(tmp_path / "with")
    assert model.feature_names[:3] == ("ordered", "ordered (month)", "ordered (weekday)")
    whole = model.predict(text[300:])[:, 0]
    # A frame with a column of datetimes, and text in another format, give the same rows.
    np.testing.assert_array_equal(model.predict(shop[300:])[:, 0], whole)
    iso = text[300:].assign(ordered=shop["ordered"].dt.strftime("%Y-%m-%dT00:00"))
    np.testing.assert_array_equal(model.predict(iso)[:, 0], whole)
    # In chunks, some of which do not show whether the day or the month is first.
    monkeypatch.setattr(reading, "ROWS", 3)
    assert command("predict with later.csv --out p.csv")[0] == 0
    np.testing.assert_allclose(pd.read_csv(tmp_path / "p.csv").iloc[:, 0], whole, rtol=1e-9)
    code, out, _ = command("evaluate with later.csv --json")
    residual = ((whole - shop["y"][300:]) ** 2).sum() / ((shop["y"][300:] - shop["y"][300:].mean()) ** 2).sum()
    assert json.loads(out)["r2"] == pytest.approx(1 - residual)

    text.loc[350, "ordered"] = "13/13/2023"
    text[300:].to_csv(tmp_path / "later.csv", index=False)
    code, out, err = command("predict with later.csv --out q.csv")
    assert code == 2
    assert err.startswith("error: column 'ordered' holds dates, but '13/13/2023' in row 51 is not a valid date;")
    assert not (tmp_path / "q.csv").exists()


def test_dates_are_no_target(tmp_path, shop):
    pytest.importorskip("pyarrow")
    shop.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match="the target, column 'ordered', holds values of type datetime64"):
        load(Config(dataset=tmp_path / "a.parquet", target="ordered"))
