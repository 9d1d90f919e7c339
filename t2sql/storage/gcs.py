"""Objects in Google Cloud Storage, over google-cloud-storage."""

import concurrent.futures
import contextlib
import functools
import itertools
import logging
import os
import pathlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import requests
from google.api_core import exceptions
from google.api_core import retry as retry_lib
from google.cloud import storage

from t2sql import errors
from t2sql.storage import base, gcs_errors, local
from t2sql.storage.base import StorageConfig

ENDPOINT_VARIABLE = "T2SQL_GCS_ENDPOINT"
# Else the client asks for the bucket's metadata in the background: one more request, and
# one more permission, for telemetry that nobody reads here.
os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
# https://cloud.google.com/storage/docs/buckets#naming
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_THREADS = 16
_CONNECTIONS = 32
_DAMAGED_UPLOADS = 5


class GcsStorage:
    """Storage below `gs://bucket/prefix`, with application-default credentials.

    Every object is written by `create` with `if_generation_match=0`: the service makes it
    whole or not at all and never replaces one. Requests are retried here and nowhere else,
    after faults that may pass.
    """

    def __init__(self, url: str, config: StorageConfig):
        self.url = url.rstrip("/")
        bucket, _, prefix = url.removeprefix("gs://").partition("/")
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        if not _BUCKET_NAME.fullmatch(bucket):
            raise errors.InputError(
                f"{url}: {bucket!r} is no bucket name; a URL looks like gs://my-bucket/some/run"
            )
        self._config = config
        self._client = _connect(self.url, config)
        self._bucket = self._client.bucket(bucket, user_project=config.project)
        self._retry = retry_lib.Retry(
            predicate=gcs_errors.may_pass,
            initial=config.first_delay_s,
            maximum=config.max_delay_s,
            multiplier=config.multiplier,
            timeout=config.deadline_s,
            on_error=self._warn,
        )
        self._bucket_seen = False

    def create(self, name: str, data: bytes) -> base.Outcome:
        for _ in range(_DAMAGED_UPLOADS):
            blob, tries = self._blob(name), itertools.count()
            outcome = self._try(functools.partial(self._create_once, blob, data, tries))
            if outcome is not base.Outcome.CREATED or _is_whole(blob, data):
                return outcome
            # Google's service refuses what arrives damaged; others may store it.
            logging.warning("%s/%s arrived damaged; withdrawing it", self.url, name)
            self._try(functools.partial(self._delete_generation, blob))
        raise errors.TryAgainError(
            f"{self.url}/{name} arrived damaged {_DAMAGED_UPLOADS} times; check the network"
        )

    def read(self, name: str) -> bytes:
        blob = self._blob(name)
        return self._try(lambda: self._request(name, blob.download_as_bytes, checksum="crc32c"))

    def download(self, name: str, path: pathlib.Path) -> None:
        fetch = functools.partial(self._blob(name).download_to_filename, str(path))
        with local.explained(path, passing=FileNotFoundError):
            self._try(lambda: self._request(name, fetch, checksum="crc32c"))

    def exists(self, name: str) -> bool:
        blob = self._blob(name)
        try:
            self._try(lambda: self._request(name, blob.reload))
        except FileNotFoundError:
            return False
        return True

    def names(self, *prefixes: str) -> set[str]:
        return {self._name(blob) for blob in self._blobs(prefixes, "name")}

    def list(self, *prefixes: str, only: Collection[str] | None = None) -> list[base.ObjectInfo]:
        infos = {
            self._name(blob): base.ObjectInfo(
                name=self._name(blob), size=blob.size, crc32c=blob.crc32c
            )
            for blob in self._blobs(prefixes, "name,size,crc32c")
        }
        return [infos[name] for name in sorted(infos if only is None else infos.keys() & {*only})]

    def withdraw(self, name: str, data: bytes) -> bool:
        return self._try(functools.partial(self._withdraw, self._blob(name), data))

    def delete(self, names: Iterable[str]) -> None:
        with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
            for _ in pool.map(self._delete_one, names):
                pass

    def _create_once(self, blob: storage.Blob, data: bytes, tries: Iterator[int]) -> base.Outcome:
        # After a fault the object may be there: an earlier try of ours whose reply was lost, or
        # another host's. Writing again could be refused for long: the service takes one write a
        # second to a name, and all hosts begin a run at once.
        if next(tries) and (outcome := self._existing(blob, data)):
            return outcome
        try:
            blob.upload_from_string(data, if_generation_match=0, checksum="crc32c", **self._once)
        except exceptions.PreconditionFailed as error:
            if outcome := self._existing(blob, data):
                return outcome
            raise ConnectionError(f"{blob.name} was deleted meanwhile") from error
        return base.Outcome.CREATED

    def _existing(self, blob: storage.Blob, data: bytes) -> base.Outcome | None:
        """Compares the object there with `data`; None if there is no object."""
        try:
            blob.reload(**self._once)
        except exceptions.NotFound:
            return None
        return base.Outcome.SAME if _is_whole(blob, data) else base.Outcome.OTHER

    def _withdraw(self, blob: storage.Blob, data: bytes) -> bool:
        matches = self._existing(blob, data) is base.Outcome.SAME
        return matches and self._delete_generation(blob)

    def _delete_generation(self, blob: storage.Blob) -> bool:
        """Deletes the generation that `blob` was read or created as, and no later one."""
        try:
            blob.delete(if_generation_match=blob.generation, **self._once)
        except (exceptions.NotFound, exceptions.PreconditionFailed):
            return False
        return True

    def _delete_one(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._try(lambda: self._request(name, self._blob(name).delete))

    def _blobs(self, prefixes: Sequence[str], fields: str) -> Iterator[storage.Blob]:
        """Lists objects, without the placeholders of empty folders (names that end in /)."""
        with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool, self._explained():
            listings = pool.map(lambda prefix: self._pages(prefix, fields), prefixes or [""])
            for blob in itertools.chain.from_iterable(listings):
                if not blob.name.endswith("/"):
                    yield blob

    def _pages(self, prefix: str, fields: str) -> Sequence[storage.Blob]:
        pages = self._client.list_blobs(
            self._bucket,
            prefix=self._prefix + prefix,
            fields=f"items({fields}),nextPageToken",
            retry=self._retry,
            timeout=self._config.request_timeout_s,
        )
        return [*pages]

    def _request(self, name: str, request: Callable[..., Any], *args, **kwargs) -> Any:
        """Runs one request; raises FileNotFoundError if the object is what is missing."""
        try:
            return request(*args, **kwargs, **self._once)
        except exceptions.NotFound:
            self._require_bucket()
            raise FileNotFoundError(f"{self.url}/{name}") from None

    def _require_bucket(self) -> None:
        """Raises NotFound if there is no bucket: an object's 404 does not tell which it is."""
        if not self._bucket_seen:
            pages = self._client.list_blobs(
                self._bucket, prefix=self._prefix, max_results=1, **self._once
            )
            next(iter(pages), None)
            self._bucket_seen = True

    @property
    def _once(self) -> dict[str, Any]:
        return {"retry": None, "timeout": self._config.request_timeout_s}

    def _blob(self, name: str) -> storage.Blob:
        return self._bucket.blob(self._prefix + base.check_name(name))

    def _name(self, blob: storage.Blob) -> str:
        return blob.name.removeprefix(self._prefix)

    def _try[T](self, attempt: Callable[[], T]) -> T:
        with self._explained():
            return self._retry(attempt)()

    def _warn(self, error: Exception) -> None:
        logging.warning("%s: trying again after: %s", self.url, gcs_errors.short(error))

    def _explained(self) -> contextlib.AbstractContextManager[None]:
        return gcs_errors.explained(self.url, self._config.deadline_s)


def _connect(url: str, config: StorageConfig) -> storage.Client:
    endpoint = config.endpoint or os.environ.get(ENDPOINT_VARIABLE)
    options = {"api_endpoint": endpoint} if endpoint else None
    with gcs_errors.explained(url, config.deadline_s):
        client = storage.Client(project=None, client_options=options)
    # The client keeps 10 connections, and has no setting for it
    # (https://github.com/googleapis/python-storage/issues/253).
    adapter = requests.adapters.HTTPAdapter(pool_maxsize=max(_CONNECTIONS, config.upload_threads))
    for scheme in ("http://", "https://"):
        client._http.mount(scheme, adapter)
    return client


def _is_whole(blob: storage.Blob, data: bytes) -> bool:
    return (blob.size, blob.crc32c) == (len(data), base.checksum(data))
