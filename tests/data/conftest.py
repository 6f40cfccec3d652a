import gzip
import hashlib
import http.server
import socket
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from idx_sets import make_set

from mlpgpu.data import mirrors, mnist, openml


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        status, body, length = self.server.content.get(self.path, (404, b"", 0))
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    """HTTP server of the content that is put into it; records the paths of requests."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.asked = {}, []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"

    def put(self, path, body, status=200, length=None):
        self.content[path] = (status, body, len(body) if length is None else length)

    def put_all(self, files, folder="/"):
        for file, data in files.items():
            self.put(f"{folder}{file}.gz", gzip.compress(data))


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def dead(monkeypatch):
    """Yield the address of a server that does not exist: a port where nothing listens, and which no other takes."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}/"


@pytest.fixture
def tiny(monkeypatch, tmp_path, dead):
    """Small sets in place of MNIST's, with no data folder, an empty cache, and no servers but those of the test."""
    arrays, files = make_set(1)
    _, fashion = make_set(2)
    sums = {
        name: {file: hashlib.md5(data).hexdigest() for file, data in content.items()}
        for name, content in {"mnist": files, "fashion-mnist": fashion}.items()
    }
    cache = tmp_path / "cache"
    monkeypatch.setattr(mnist, "CHECKSUMS", sums)
    monkeypatch.setattr(mnist, "MIRRORS", {"mnist": (), "fashion-mnist": ()})
    monkeypatch.setattr(openml, "TRAIN_ROWS", 200)
    monkeypatch.setattr(openml, "SERVER", dead)
    # The servers of a test answer at once, but a busy machine may be slow to run them.
    monkeypatch.setattr(mirrors, "_FIRST_SECONDS", 60.0)
    monkeypatch.setattr(mirrors, "_NEXT_SECONDS", 60.0)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda _app: str(cache))
    monkeypatch.delenv("MLPGPU_DATA_DIR", raising=False)
    return SimpleNamespace(arrays=arrays, files=files, fashion=fashion, cache=cache, sums=sums)


@pytest.fixture
def houses():
    """A table with column separators in names and cells, text in quotes, and gaps."""
    pd = pytest.importorskip("pandas", reason="pandas is not installed: no tables")
    rng = np.random.default_rng(0)
    n = 60
    frame = pd.DataFrame({"size, m": rng.normal(size=n), "rooms; all": rng.integers(1, 6, n)})
    frame["town"] = rng.choice(["Ulm", "Bonn, Süd", "Köln; Nord", 'say "so"', "tab\there", "1,2,3", "two\nlines"], n)
    frame["garden"] = rng.random(n) < 0.5
    frame["age"] = np.where(rng.random(n) < 0.2, np.nan, rng.uniform(0, 50, n).round(2))
    return frame.assign(price=rng.normal(200, 20, n))
