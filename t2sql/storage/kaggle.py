"""Downloads from Kaggle; every failure says what to do about it."""

import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from t2sql import errors
from t2sql.storage import local_cache, locks

_LOGIN = (
    "Make an API token at https://www.kaggle.com/settings and put it into ~/.kaggle/kaggle.json,"
    " or into the variables KAGGLE_USERNAME and KAGGLE_KEY, or KAGGLE_API_TOKEN"
)

# What reading a broken archive raises.
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, EOFError)


def download_model(handle: str, *, cache_dir: Path) -> Path:
    """Returns the folder of a model `OWNER/MODEL/FRAMEWORK/VARIATION[/VERSION]`.

    kagglehub keeps it in its own cache; a lock in `cache_dir` lets one process of several
    download it.

    Raises:
      InputError: no login, licence not accepted, no such model, malformed handle.
      TryAgainError: Kaggle cannot be reached, or the download broke off.
    """
    import kagglehub  # Takes half a second; only those who download pay.

    page = "https://www.kaggle.com/models/" + "/".join(handle.split("/")[:2])
    return _download(kagglehub.model_download, handle, page, cache_dir)


def download_dataset(handle: str, *, cache_dir: Path) -> Path:
    """Returns the folder of a data set `OWNER/DATASET[/versions/VERSION]`; see `download_model`."""
    import kagglehub

    page = "https://www.kaggle.com/datasets/" + handle.partition("/versions/")[0]
    return _download(kagglehub.dataset_download, handle, page, cache_dir)


def _download(fetch: Callable[[str], str], handle: str, page: str, cache_dir: Path) -> Path:
    import requests
    from kagglehub import exceptions

    local_cache.make_folder(cache_dir)
    with locks.held(cache_dir / "kaggle.lock"):
        try:
            return Path(fetch(handle))
        except exceptions.KaggleApiHTTPError as error:
            raise _explain(handle, page, error.response.status_code) from error
        except (exceptions.DataCorruptionError, requests.RequestException, *_BROKEN) as error:
            raise errors.TryAgainError(
                f"kaggle:{handle}: Kaggle cannot be reached, or the download broke off ({error})."
                " A handle that ends in a version that was fetched before works without a network"
            ) from error
        except ValueError as error:
            raise errors.InputError(f"kaggle:{handle}: {error}") from error
        except OSError as error:
            raise errors.TryAgainError(f"kaggle:{handle}: cannot be stored: {error}") from error


def _explain(handle: str, page: str, status: int) -> errors.T2SQLError:
    from kagglehub import config

    if status == 404:
        return errors.InputError(f"kaggle:{handle}: Kaggle has no such thing; look at {page}")
    if status not in (401, 403):
        return errors.TryAgainError(f"kaggle:{handle}: Kaggle answered with HTTP status {status}")
    if not config.get_kaggle_credentials():
        return errors.InputError(
            f"kaggle:{handle}: no Kaggle login was found. {_LOGIN}."
            f" Gemma also has a licence, to be accepted once on {page}"
        )
    if status == 401:
        return errors.InputError(f"kaggle:{handle}: Kaggle does not know this login. {_LOGIN}")
    return errors.InputError(
        f"kaggle:{handle}: Kaggle refuses this to your account. Log in, open {page},"
        " accept the licence there, and run the same command again"
    )
