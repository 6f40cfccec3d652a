"""Archives and compressed files with given content."""

import gzip
import io
import zipfile


def archive(*names, method=zipfile.ZIP_DEFLATED, content=b""):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as entries:
        for name in names:
            entries.writestr(zipfile.ZipInfo(name), content, method)
    return file.getvalue()


def gzipped(data):
    """Compress to the same bytes at any time, because they are in the names of tests."""
    return gzip.compress(data, mtime=0)
