"""Which errors of google-cloud-storage may pass, and what to say of the others."""

import contextlib
import http.client
import json
from collections.abc import Iterator

import google.auth.exceptions
import requests
import urllib3
from google.api_core import exceptions
from google.cloud.storage.exceptions import DataCorruption

from t2sql import errors

_PASSING_STATUS = (408, 429, 500, 502, 503, 504)
_PASSING_ERRORS = (
    ConnectionError,
    DataCorruption,
    TimeoutError,
    google.auth.exceptions.TransportError,
    http.client.HTTPException,
    json.JSONDecodeError,
    requests.RequestException,
    urllib3.exceptions.HTTPError,
)
_WRONG_ENDPOINT = (
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
)


def may_pass(error: Exception) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, exceptions.GoogleAPICallError):
        damaged = error.code == 400 and "crc32c" in str(error).lower()
        return damaged or error.code in _PASSING_STATUS
    if isinstance(error, google.auth.exceptions.RefreshError):
        return error.retryable
    return isinstance(error, _PASSING_ERRORS) and not isinstance(error, _WRONG_ENDPOINT)


@contextlib.contextmanager
def explained(url: str, deadline_s: float) -> Iterator[None]:
    """Turns what the client raises, after all tries, into errors for the user.

    Raises:
      InputError: no bucket, no permission, no or refused credentials, a wrong endpoint.
      TryAgainError: what may pass did not within the deadline.
    """
    try:
        yield
    except exceptions.RetryError as error:
        raise errors.TryAgainError(
            f"{url}: gave up after {deadline_s:g} s of trying; last: {short(error.cause)}"
        ) from error
    except (exceptions.Unauthorized, google.auth.exceptions.GoogleAuthError) as error:
        raise errors.InputError(
            f"{url}: no Google credentials, or they were refused: {short(error)}\n"
            "Log in with 'gcloud auth application-default login', point "
            "GOOGLE_APPLICATION_CREDENTIALS at a service account's key file, or run on a machine "
            "that has a service account."
        ) from error
    except exceptions.Forbidden as error:
        raise errors.InputError(
            f"{url}: no permission: {short(error)}\nGrant the account roles/storage.objectUser "
            "on the bucket (roles/storage.objectViewer to read)."
        ) from error
    except exceptions.NotFound as error:
        bucket = url.removeprefix("gs://").partition("/")[0]
        raise errors.InputError(
            f"{url}: there is no bucket {bucket!r}; make it with "
            f"'gcloud storage buckets create gs://{bucket}' or choose another"
        ) from error
    except (exceptions.ClientError, *_WRONG_ENDPOINT) as error:
        raise errors.InputError(f"{url}: {short(error)}") from error
    except exceptions.GoogleAPICallError as error:
        raise errors.TryAgainError(f"{url}: {short(error)}") from error


def short(error: BaseException | None) -> str:
    """Returns an error's type and text on one line of bounded length."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 300 else text[:297] + "..."
