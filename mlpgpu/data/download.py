"""Fetching a file over HTTP without waiting long for a network that is not there."""

import socket
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

__all__ = ["DownloadError", "fetch", "probe"]


class DownloadError(Exception):
    """A download that failed.

    Attributes
    ----------
    reason : str
        Why, in a few words.
    unreachable : bool
        Whether the server gave no answer, so that asking it again would only take time.
    """

    def __init__(self, reason: str, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unreachable = unreachable


def probe(url: str, seconds: float) -> None:
    """Connect to the server of `url`, or to the proxy before it, and hang up.

    HTTP clients give each of a host's addresses the whole timeout, and looking up its name none at
    all, so only a thread that can be left behind keeps to the time.

    Raises
    ------
    DownloadError
        Where there is no connection within so many seconds.
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
        # Whatever happened, only the lack of a connection matters; a report would be of a daemon thread.
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
        File to write; where the download fails, part of it may be there.
    seconds : float
        Longest wait for a connection; the next bytes may take twice as long.
    progress : bool
        Whether to draw a progress bar, where standard error is a terminal.

    Raises
    ------
    DownloadError
        Where the file cannot be fetched.
    OSError
        Where it cannot be written.
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
