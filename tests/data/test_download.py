"""Downloads of MNIST from mirrors and OpenML, and their failures."""

import gzip
import hashlib
import io
import socket
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from idx_sets import FILES, assert_is_tiny, idx_bytes

from mlpgpu.data import load, mirrors, mnist, openml
from mlpgpu.data.download import DownloadError, fetch, probe
from mlpgpu.data.mirrors import UnavailableError
from mlpgpu.settings.config import Config

IMAGES = "/train-images-idx3-ubyte.gz"


def kept(tiny):
    return sorted(str(path.relative_to(tiny.cache)) for path in tiny.cache.rglob("*"))


GZ = sorted(["mnist", *(f"mnist/{file}.gz" for file in mnist.FILES)])


@pytest.fixture
def mirrored(monkeypatch, tiny):
    return lambda *urls: monkeypatch.setattr(mnist, "MIRRORS", {"mnist": urls})


def test_downloads_once_into_the_cache(tiny, server, mirrored):
    server.put_all(tiny.files)
    mirrored(server.url)
    assert_is_tiny(load(Config()), tiny)
    assert kept(tiny) == GZ
    assert len(server.asked) == 4
    assert_is_tiny(load(Config()), tiny)
    assert len(server.asked) == 4


def spoil_truncated(server, tiny):
    whole = gzip.compress(tiny.files[IMAGES[1:-3]])
    server.put(IMAGES, whole[:-50])


def spoil_broken_off(server, tiny):
    whole = gzip.compress(tiny.files[IMAGES[1:-3]])
    server.put(IMAGES, whole[:-50], length=len(whole))


def spoil_checksum(server, tiny):
    server.put(IMAGES, gzip.compress(tiny.fashion[IMAGES[1:-3]]))


def spoil_page(server, tiny):
    server.put(IMAGES, b"<html>please log in</html>")


def spoil_status(server, tiny):
    server.put(IMAGES, b"", status=503)


def spoil_absent(server, tiny):
    del server.content[IMAGES]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_truncated, "damaged file"),
        (spoil_broken_off, "broken off|no answer"),
        (spoil_checksum, "wrong checksum"),
        (spoil_page, "damaged file"),
        (spoil_status, "HTTP 503"),
        (spoil_absent, "HTTP 404"),
    ],
)
def test_bad_mirror_goes_on_to_the_next_and_leaves_nothing(tiny, server, mirrored, spoil, reason):
    server.put_all(tiny.files)
    spoil(server, tiny)
    mirrored(server.url)
    with pytest.raises(UnavailableError, match=f"127.0.0.1:[0-9]+: ({reason})"):
        load(Config(dataset="mnist"))
    assert kept(tiny) == ["mnist"]
    server.put_all(tiny.files, "/good/")
    mirrored(server.url, f"{server.url}good/")
    assert_is_tiny(load(Config(dataset="mnist")), tiny)
    assert kept(tiny) == GZ


def test_second_mirror_gives_only_what_the_first_did_not(tiny, server, mirrored):
    server.put_all(tiny.files)
    server.put_all(tiny.files, "/b/")
    del server.content["/t10k-labels-idx1-ubyte.gz"]
    mirrored(server.url, f"{server.url}b/")
    assert_is_tiny(load(Config()), tiny)
    assert server.asked[4:] == ["/b/t10k-labels-idx1-ubyte.gz"]


def test_dead_mirror_goes_on_to_the_next(tiny, server, dead, mirrored):
    server.put_all(tiny.files)
    mirrored(dead, server.url)
    assert_is_tiny(load(Config()), tiny)


def test_all_dead_says_what_was_tried_and_what_to_do(tiny, dead, mirrored):
    mirrored(dead, dead.replace("127.0.0.1", "localhost"))
    start = time.monotonic()
    with pytest.raises(UnavailableError) as caught:
        load(Config(dataset="mnist"))
    assert time.monotonic() - start < mirrors._FIRST_SECONDS
    message = str(caught.value)
    for word in (dead[7:-1], "localhost", "no connection", "--data-dir", "MLPGPU_DATA_DIR", mnist.FILES[0]):
        assert word in message
    assert "\n" not in message
    assert kept(tiny) == ["mnist"]


def test_network_that_swallows_everything_is_given_up_within_seconds(tiny, mirrored, monkeypatch):
    # Neither refuses nor connects, as when packets are dropped or the name server is unreachable.
    over = threading.Event()

    def swallow(*_, **__):
        over.wait()
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", swallow)
    mirrored("http://a.invalid/", "https://b.invalid/", "http://c.invalid/")
    monkeypatch.setattr(mirrors, "_FIRST_SECONDS", 0.4)
    monkeypatch.setattr(mirrors, "_NEXT_SECONDS", 0.1)
    start = time.monotonic()
    with pytest.raises(UnavailableError, match=r"a\.invalid: no connection, b\.invalid: no connection, c\."):
        load(Config(dataset="mnist"))
    assert 0.6 < time.monotonic() - start < 30
    over.set()


def test_own_timeouts_add_up_to_less_than_fifteen_seconds():
    servers = max(map(len, mnist.MIRRORS.values())) + 1
    assert mirrors._FIRST_SECONDS + (servers - 1) * mirrors._NEXT_SECONDS < 15


def test_server_that_accepts_and_says_nothing_is_left(tiny, server, mirrored, monkeypatch):
    server.put_all(tiny.files)
    monkeypatch.setattr(mirrors, "_FIRST_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mirrored(f"http://127.0.0.1:{silent.getsockname()[1]}/", server.url)
        assert_is_tiny(load(Config()), tiny)


def test_cache_that_cannot_be_written_is_named(tiny, server, mirrored):
    server.put_all(tiny.files)
    mirrored(server.url)
    tiny.cache.write_text("a file where the folder should be")
    with pytest.raises(UnavailableError, match=f"cannot write the cache folder {tiny.cache}"):
        load(Config(dataset="mnist"))
    assert load(Config()).name == "digits"


def test_probe_asks_the_proxy_where_there_is_one(server, dead, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("https_proxy", dead)
    probe("http://name.invalid/", 2)
    with pytest.raises(DownloadError, match="no connection"):
        probe("https://name.invalid/", 2)


def test_progress_is_drawn_on_terminals_only(server, tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    server.put("/file", bytes(5000))
    for stream, progress, drawn in [(Terminal(), True, True), (Terminal(), False, False), (io.StringIO(), True, False)]:
        monkeypatch.setattr(sys, "stderr", stream)
        fetch(f"{server.url}file", tmp_path / "file", 2, progress=progress)
        assert ("100%" in stream.getvalue()) is drawn
        assert (tmp_path / "file").read_bytes() == bytes(5000)


@pytest.mark.parametrize(
    ("error", "reason", "unreachable"),
    [
        ("HTTPError", "HTTP error", False),
        ("Timeout", "no answer", True),
        ("ConnectionError", "no answer", True),
        ("TooManyRedirects", "broken off", False),
    ],
)
def test_every_failure_of_a_request_has_a_reason(monkeypatch, tmp_path, error, reason, unreachable):
    import requests

    def fail(*_, **__):
        raise getattr(requests, error)("x")

    monkeypatch.setattr(requests, "get", fail)
    with pytest.raises(DownloadError, match=reason) as caught:
        fetch("http://127.0.0.1/", tmp_path / "file", 1, progress=False)
    assert caught.value.unreachable is unreachable


@pytest.fixture
def square(tiny, monkeypatch):
    """A set of 3x3 images in the form of OpenML: floats, labels as text, training rows first."""
    rng = np.random.default_rng(3)
    x, y = rng.integers(0, 256, (240, 3, 3), np.uint8), np.arange(240, dtype=np.uint8) % 10
    files = dict(zip(FILES, map(idx_bytes, (x[:200], y[:200], x[200:], y[200:])), strict=True))
    sums = {file: hashlib.md5(data).hexdigest() for file, data in files.items()}
    monkeypatch.setattr(mnist, "CHECKSUMS", {"mnist": sums})
    bunch = SimpleNamespace(data=x.reshape(240, 9).astype(float), target=y.astype(str).astype(object))
    return SimpleNamespace(x=x, y=y, files=files, bunch=bunch)


@pytest.fixture
def answer(monkeypatch, server):
    """Return a function that makes OpenML reachable with a given answer, and returns the list of calls."""
    monkeypatch.setattr(openml, "SERVER", server.url)

    def set_answer(result):
        calls = []

        def fetch_openml(**asked):
            calls.append(asked | {"timeout": socket.getdefaulttimeout()})
            if isinstance(result, Exception):
                raise result
            return result

        monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch_openml)
        return calls

    return set_answer


def test_openml_is_asked_last_and_becomes_idx_files(tiny, square, dead, mirrored, answer):
    mirrored(dead)
    calls = answer(square.bunch)
    d = load(Config(dataset="mnist"))
    np.testing.assert_array_equal(d.x_test, square.x[200:].reshape(40, 9))
    np.testing.assert_array_equal(d.y_test, square.y[200:])
    assert len(calls) == 1
    assert calls[0]["data_id"] == 554
    assert calls[0]["timeout"] == 10
    assert socket.getdefaulttimeout() is None
    assert {path.name: path.read_bytes() for path in (tiny.cache / "mnist").iterdir()} == square.files
    load(Config(dataset="mnist"))
    assert len(calls) == 1


def test_openml_fills_in_what_mirrors_lack(tiny, square, server, mirrored, answer):
    server.put_all(square.files)
    del server.content["/t10k-images-idx3-ubyte.gz"]
    mirrored(server.url)
    calls = answer(square.bunch)
    load(Config(dataset="mnist"))
    assert len(calls) == 1
    names = sorted(path.name for path in (tiny.cache / "mnist").iterdir())
    assert names == [
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
    ]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError(), "no answer"),
        (ConnectionResetError(), "no answer"),
        (ValueError("md5"), "no usable answer"),
        (OSError("disk"), "no usable answer"),
    ],
)
def test_openml_that_fails_is_among_what_was_tried(tiny, square, mirrored, answer, error, reason):
    answer(error)
    with pytest.raises(UnavailableError, match=f": {reason}"):
        load(Config(dataset="mnist"))
    assert socket.getdefaulttimeout() is None


def test_openml_with_other_rows_is_not_kept(tiny, square, answer):
    square.bunch.data[230, 4] += 1
    answer(square.bunch)
    with pytest.raises(UnavailableError, match="wrong checksum"):
        load(Config(dataset="mnist"))
    assert "t10k-images-idx3-ubyte" not in [path.name for path in tiny.cache.rglob("*")]


def test_openml_with_rows_that_are_no_squares_is_refused(tiny, square, answer):
    square.bunch.data = square.bunch.data[:, :7]
    answer(square.bunch)
    with pytest.raises(UnavailableError, match="no usable answer"):
        load(Config(dataset="mnist"))
