"""What clusters tell a process: environments, and a stand-in for a TPU VM's metadata server."""

import contextlib
import http.server
import threading

EXPLICIT = {
    "T2SQL_COORDINATOR": "10.0.0.1:8476",
    "T2SQL_NUM_PROCESSES": "4",
    "T2SQL_PROCESS_ID": "2",
}
# What srun sets for a task, of four on each of two nodes with eight GPUs.
SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NODELIST": "gpu[007-008]",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7",
}


class MetadataServer(http.server.ThreadingHTTPServer):
    """Answers as the metadata server of a TPU VM does.

    Attributes:
      attributes: what it knows.
      busy: requests still to answer with 503.
    """

    daemon_threads = True

    def __init__(self, attributes: dict[str, str]):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.attributes = attributes
        self.busy = 0
        self.environ = {"GCE_METADATA_IP": f"127.0.0.1:{self.server_address[1]}"}


class _Handler(http.server.BaseHTTPRequestHandler):
    server: MetadataServer

    def do_GET(self):
        prefix = "/computeMetadata/v1/instance/attributes/"
        value = self.server.attributes.get(self.path.removeprefix(prefix))
        if self.headers["Metadata-Flavor"] != "Google":
            status, body = 403, b""
        elif self.server.busy:
            self.server.busy -= 1
            status, body = 503, b""
        else:
            status, body = (200, value.encode()) if value is not None else (404, b"not found")
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


@contextlib.contextmanager
def metadata_server(**attributes: str):
    server = MetadataServer({name.replace("_", "-"): v for name, v in attributes.items()})
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
