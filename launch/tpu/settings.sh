# shellcheck shell=bash disable=SC2034  # read by the scripts that source this file
# The settings of launch/tpu/*.sh. Every one is a flag too: ACCELERATOR_TYPE is
# --accelerator-type=VALUE. Your own values go here, or into a copy named by --settings=FILE.

# The slice. docs/tpu.md says which one suits which model, and what it costs.
NAME=t2sql                    # of the queued resource and of the TPU VM
PROJECT=                      # empty: the default of gcloud
ZONE=                         # such as us-west4-a; has to offer the accelerator type
ACCELERATOR_TYPE=v5litepod-16 # 4 hosts with 4 chips each
RUNTIME_VERSION=auto          # the image; auto: Google's for the generation of the accelerator
TOPOLOGY=                     # such as 4x4; empty: the usual one of ACCELERATOR_TYPE
PROVISIONING=spot             # spot; on-demand: dearer, never preempted; reserved; or flex-start
RESERVATION=                  # with reserved: its name; empty: whichever is there
MAX_RUN_DURATION=             # with flex-start: Google deletes the slice then; empty: MAX_HOURS
VALID_UNTIL_DURATION=6h       # the request ends by itself when it is not granted in this time
LABELS=                       # NAME=VALUE,... for the bill
BOOT_DISK=                    # gcloud's --boot-disk: encryption; its size cannot be chosen
NETWORK=                      # empty: default
SUBNETWORK=                   # empty: default
INTERNAL_IPS=no               # yes: no public addresses; the subnetwork needs Cloud NAT for set-up
SERVICE_ACCOUNT=              # empty: Compute Engine's default account; it has to reach the bucket

# The job.
OUTPUT=                       # run directory, gs://BUCKET/RUN
CONFIG=configs/tpu_pod.py
COMMIT=HEAD                   # the code that runs; HEAD needs a clean working tree
COORDINATOR_PORT=8476         # on worker 0, for JAX; open between the hosts of a slice
MAX_RESTARTS=5                # of the job on one worker, after a crash
KAGGLE_SECRET=                # Secret Manager's name of a secret that holds kaggle.json; or
KAGGLE_FILE=                  # that file on this machine, such as ~/.kaggle/kaggle.json

# The whole life, launch/tpu/run.sh.
REPORT_DATA=                  # Spider directory on this machine for the report; empty: no report
RESULTS=                      # directory for logs and report; empty: runs/tpu-NAME
POLL_SECONDS=60               # between two looks at the slice
MAX_SUBMISSIONS=3             # to one slice, where every worker has ended and units are missing
MAX_RECREATIONS=10            # slices asked for again after preemption
MAX_REQUESTS=28               # requests made again after VALID_UNTIL_DURATION; waiting is free
MAX_IDLE_MINUTES=30           # a slice on which nothing can be started is deleted then
MAX_STALLED_MINUTES=60        # the same while the job runs and writes no unit
MAX_HOURS=12                  # of slices that are there; then they are deleted, finished or not
