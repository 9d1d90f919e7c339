"""Every knob of the storage layer, in one place."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class StorageConfig:
    """How to reach Google Cloud Storage and how long to try; local files use only the uploads.

    Attributes:
      endpoint: URL of the storage service, for a private endpoint; None takes the
        environment's T2SQL_GCS_ENDPOINT, else STORAGE_EMULATOR_HOST (without credentials),
        else Google's own.
      project: project that is billed for requester-pays buckets; None bills the owner.
      request_timeout_s: longest wait for one reply.
      first_delay_s: pause before the second try; each further one is `multiplier` longer.
      multiplier: see `first_delay_s`.
      max_delay_s: longest pause between two tries.
      deadline_s: time after which a failing operation is given up.
      upload_threads: uploads under way at once.
      upload_buffer_bytes: results waiting for their upload; the job pauses above this.
    """

    endpoint: str | None = None
    project: str | None = None
    request_timeout_s: float = 60.0
    first_delay_s: float = 1.0
    multiplier: float = 2.0
    max_delay_s: float = 30.0
    deadline_s: float = 300.0
    upload_threads: int = 4
    upload_buffer_bytes: int = 64 << 20
