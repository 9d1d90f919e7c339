"""Downloads from Hugging Face's Hub; every failure says what to do about it."""

from collections.abc import Sequence
from pathlib import Path

from t2sql import errors
from t2sql.storage import local_cache, locks

_MODEL_FILES = ("config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer.*")
_LOGIN = (
    "Make an access token at https://huggingface.co/settings/tokens and run `hf auth login`, or"
    " put it into the variable HF_TOKEN"
)


def download_model(name: str, *, cache_dir: Path) -> Path:
    """Returns the folder of a model `OWNER/NAME[@REVISION]`, weights and tokenizer.

    huggingface_hub keeps it in its own cache ($HF_HOME); a lock in `cache_dir` lets one process of
    several download it.

    Raises:
      InputError: no login, licence not accepted, no such model, malformed name.
      TryAgainError: the Hub cannot be reached, or the download broke off.
    """
    return _download(name, _MODEL_FILES, cache_dir)


def download_adapter(name: str, *, cache_dir: Path) -> Path:
    """Returns the folder of an adapter `OWNER/NAME[@REVISION]`; see `download_model`."""
    return _download(name, ("adapter*",), cache_dir)


def _download(name: str, patterns: Sequence[str], cache_dir: Path) -> Path:
    import huggingface_hub  # takes a third of a second; only those who download pay
    from huggingface_hub import errors as hub_errors

    repository, _, revision = name.partition("@")
    local_cache.make_folder(cache_dir)
    with locks.held(cache_dir / "hub.lock"):
        try:
            return Path(
                huggingface_hub.snapshot_download(
                    repository, revision=revision or None, allow_patterns=list(patterns)
                )
            )
        except hub_errors.HFValidationError as error:
            raise errors.InputError(
                f"hf:{name}: the Hub's models are called OWNER/NAME, with @REVISION where it is"
                f" not the newest ({error})"
            ) from error
        except hub_errors.RevisionNotFoundError as error:
            raise errors.InputError(f"hf:{name}: the model has no revision {revision!r}") from error
        except hub_errors.RepositoryNotFoundError as error:
            raise _explain(name, repository, error) from error
        except (OSError, hub_errors.HTTPError) as error:
            raise _explain_transfer(name, repository, error) from error


def _explain_transfer(name: str, repository: str, error: Exception) -> errors.T2SQLError:
    # Where nothing was fetched before, what the Hub answered is the cause of what is raised.
    responses = [getattr(cause, "response", None) for cause in (error, error.__cause__)]
    if any(response is not None and response.status_code in (401, 403) for response in responses):
        return _explain(name, repository, error)
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return errors.TryAgainError(
        f"hf:{name}: the Hub cannot be reached, or the download broke off ({reason}). What was"
        " fetched before works without a network"
    )


def _explain(name: str, repository: str, error: Exception) -> errors.InputError:
    import huggingface_hub
    from huggingface_hub import errors as hub_errors

    page = f"https://huggingface.co/{repository}"
    if not huggingface_hub.get_token():
        return errors.InputError(
            f"hf:{name}: there is no such model, or it asks for a login and none was found."
            f" {_LOGIN}. Gemma also has a licence, to be accepted once on {page}"
        )
    if isinstance(error, hub_errors.GatedRepoError):
        return errors.InputError(
            f"hf:{name}: the Hub refuses this to your account. Log in, open {page}, accept the"
            " licence there, and run the same command again"
        )
    if isinstance(error, hub_errors.RepositoryNotFoundError):
        return errors.InputError(
            f"hf:{name}: the Hub has no such model that your account may see; look at {page}"
        )
    return errors.InputError(f"hf:{name}: the Hub does not know this login. {_LOGIN}")
