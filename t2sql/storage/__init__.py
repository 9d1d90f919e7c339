"""The one layer that reads and writes runs, on local disk or on Google Cloud Storage."""

import pathlib

from t2sql import errors
from t2sql.storage.base import ObjectInfo, Outcome, Storage, StorageConfig, checksum
from t2sql.storage.local import LocalStorage

__all__ = ["ObjectInfo", "Outcome", "Storage", "StorageConfig", "checksum", "open_storage"]

GCS_SCHEME = "gs://"


def open_storage(url: str, config: StorageConfig | None = None) -> Storage:
    """Opens `gs://bucket/prefix` or a local directory; sends no request yet.

    Raises:
      InputError: the URL is empty, has another scheme or no bucket, or there are no
        credentials for gs://.
    """
    config = config or StorageConfig()
    if url.startswith(GCS_SCHEME):
        # Takes about a second, which local runs and the report need not pay.
        from t2sql.storage import gcs

        return gcs.GcsStorage(url, config)
    scheme, separator, _ = url.partition("://")
    if separator:
        raise errors.InputError(
            f"{url}: no storage for {scheme}://; give gs://BUCKET/PATH or a path"
        )
    if not url:
        raise errors.InputError("an empty path; give a local directory or gs://BUCKET/PATH")
    return LocalStorage(pathlib.Path(url).expanduser())


def local_folder(path: str, flag: str) -> pathlib.Path:
    """A folder for what is written to local disk only.

    Raises:
      InputError: it is not on local disk; the error names the flag.
    """
    if not path or "://" in path:
        raise errors.InputError(f"{flag} is {path!r}; it has to be a local folder")
    return pathlib.Path(path).expanduser()
