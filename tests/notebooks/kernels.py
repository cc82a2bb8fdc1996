"""Kernels that are there at once: forks of one process that has imported the packages which chapters use.

    python kernels.py serve SOCKET            imports them, then forks a kernel for each request; ends with its parent
    python kernels.py SOCKET connection.json  what Jupyter starts instead of a kernel: asks for one, and ends with it

Importing PyTorch and the others takes three seconds in each kernel, and a chapter's own cells often less. A fork has
the packages and nothing else: no name, no state, no module of ours. Where a process cannot be forked (Windows) or
should not be (macOS), kernels start as usual.
"""

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

PACKAGES = "torch pandas sklearn.linear_model matplotlib.figure tiktoken safetensors.torch ipykernel.kernelapp"
INLINE = "module://matplotlib_inline.backend_inline"  # what ipykernel chooses for figures; read by the first import


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """Kernels that are started within are forks."""
    if sys.platform != "linux":
        yield
        return
    from unittest.mock import patch

    with tempfile.TemporaryDirectory() as name:
        folder, place = Path(name), str(Path(name) / "socket")
        spec = {"argv": [sys.executable, "-S", __file__, place, "{connection_file}"], "language": "python"}
        (folder / "kernels" / "python3").mkdir(parents=True)
        (folder / "kernels" / "python3" / "kernel.json").write_text(json.dumps(spec | {"display_name": "Python 3"}))
        found_first = {"JUPYTER_PATH": os.pathsep.join(filter(None, [name, os.environ.get("JUPYTER_PATH")]))}
        with open(folder / "errors", "w") as errors:
            server = subprocess.Popen(
                [sys.executable, __file__, "serve", place],
                env=os.environ | {"MPLBACKEND": INLINE},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        with server, patch.dict(os.environ, found_first):  # at the end its input is closed, and it is waited for
            assert server.stdout.readline() == b"ready\n", (folder / "errors").read_text()
            assert not (folder / "errors").read_text()  # no import warns
            yield


def serve(place: str) -> None:
    for name in PACKAGES.split():
        importlib.import_module(name)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(place)
    listener.listen()
    print("ready", flush=True)
    while listener in select.select([listener, 0], [], [])[0]:  # else standard input: the parent has closed it
        connection, _ = listener.accept()
        message, files, _, _ = socket.recv_fds(connection, 1_000_000, 3)
        if os.fork() == 0:
            listener.close()
            become_kernel(connection, json.loads(message), files)
        connection.close()
        for file in files:
            os.close(file)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def become_kernel(connection: socket.socket, request: dict, files: list[int]) -> None:
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["ipykernel_launcher", *request["arguments"]]
    own = list(filter(None, request["environment"].get("PYTHONPATH", "").split(os.pathsep)))
    sys.path[:1] = ["", *own]  # as a Python that starts in this environment has it
    threading.Thread(target=lambda: connection.recv(1) or os._exit(1), daemon=True).start()  # Jupyter gave up
    from ipykernel.kernelapp import launch_new_instance

    launch_new_instance()
    os._exit(0)


def ask(place: str, arguments: list[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Jupyter's first word when it ends a kernel
    environment = {name: value for name, value in os.environ.items() if name != "JPY_PARENT_PID"}  # not its parent
    request = {"folder": os.getcwd(), "environment": environment, "arguments": arguments}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(place)
        socket.send_fds(connection, [json.dumps(request).encode()], [0, 1, 2])
        connection.recv(1)  # when the kernel is over


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        ask(sys.argv[1], ["-f", *sys.argv[2:]])
