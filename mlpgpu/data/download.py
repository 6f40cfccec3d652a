"""Download a file over HTTP, without a long wait if the network is down."""

import socket
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit


class DownloadError(Exception):
    """A download that failed; its text is the cause in a few words.

    Attributes
    ----------
    unreachable : bool
        Whether the server did not answer, so that a retry would only take time.
    """

    def __init__(self, reason: str, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.unreachable = unreachable


def probe(url: str, seconds: float) -> None:
    """Connect to the server of `url`, or to the proxy in front of it, and disconnect.

    HTTP clients apply the timeout to each address of a host separately, and not at all to the name lookup. Only a
    daemon thread, which can be abandoned, limits the total time.

    Raises
    ------
    DownloadError
        If there is no connection after this number of seconds.
    """
    from requests.utils import get_environ_proxies, select_proxy

    parts = urlsplit(select_proxy(url, get_environ_proxies(url)) or url)
    address = (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
    connected = threading.Event()
    ended = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection(address, timeout=seconds).close()
            connected.set()
        # Only the lack of a connection matters, and an exception in this thread would print a traceback.
        except (OSError, UnicodeError):
            pass
        finally:
            ended.set()

    threading.Thread(target=connect, daemon=True).start()
    ended.wait(seconds)
    if not connected.is_set():
        raise DownloadError("no connection", unreachable=True)


def fetch(url: str, path: Path, seconds: float, *, progress: bool) -> None:
    """Download `url` to the file `path`.

    Parameters
    ----------
    url : str
        HTTP or HTTPS address.
    path : Path
        File to write; if the download fails, part of it may remain.
    seconds : float
        Timeout of connecting; that of each read is twice as long.
    progress : bool
        Whether to draw a progress bar, if standard error is a terminal.

    Raises
    ------
    DownloadError
        If the file cannot be downloaded.
    OSError
        If it cannot be written.
    """
    import requests
    from pooch import HTTPDownloader

    download = HTTPDownloader(progressbar=progress and sys.stderr.isatty(), timeout=(seconds, 2 * seconds))
    try:
        download(url, str(path), None)
    except requests.HTTPError as error:
        raise DownloadError(f"HTTP {getattr(error.response, 'status_code', 'error')}") from None
    except (requests.ConnectionError, requests.Timeout):
        raise DownloadError("no answer", unreachable=True) from None
    except requests.RequestException:
        raise DownloadError("broken off") from None
