"""``beamgen`` without its imports: a server that has made them forks for each command.

A new process imports torch, transformers and more for seconds before it works for one. The
commands run by a shell here are the same code with the same arguments, folder, environment
and streams, in a process of their own.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pkgutil
import resource
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

#: Variables of a command's environment: after so many seconds it is killed; so many bytes of
#: addresses it may have.
SECONDS, MEMORY = "WARM_COMMAND_SECONDS", "WARM_COMMAND_BYTES"

_CLIENT = """#!{python} -ISs
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({path!r})
request = {{"arguments": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}}
socket.send_fds(server, [json.dumps(request).encode()], [0, 1, 2])
sys.exit(int(server.recv(8) or b"70"))
"""


@contextlib.contextmanager
def warm_commands() -> Iterator[Path]:
    """A folder for the front of ``PATH``, with a program ``beamgen``."""
    # not pytest's: a socket's path has about 100 bytes at most
    with tempfile.TemporaryDirectory(prefix="beamgen-") as folder:
        program, path = Path(folder, "beamgen"), f"{folder}/socket"
        program.write_text(_CLIENT.format(python=sys.executable, path=path))
        program.chmod(0o755)
        command = [sys.executable, __file__, path]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            try:
                assert server.stdout.readline() == "ready\n"
                yield program.parent
            finally:
                server.terminate()


def _serve(path: str) -> None:
    import beamgen

    for heavy in ("optimum.exporters.onnx", "peft", "torch", "transformers.generation"):
        importlib.import_module(heavy)
    for module in pkgutil.walk_packages(beamgen.__path__, "beamgen."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        print("ready", flush=True)
        while True:
            connection, _ = server.accept()
            if os.fork() == 0:
                os._exit(_answer(connection))
            connection.close()


def _answer(connection: socket.socket) -> int:
    """Run one command in this process, which is a child."""
    from beamgen.cli import main

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, streams, _, _ = socket.recv_fds(connection, 2**20, 3)
    request = json.loads(message)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    _limit(os.environ.pop(SECONDS, None), os.environ.pop(MEMORY, None))
    try:
        main(request["arguments"], prog_name="beamgen")
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(bool(error.code))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    connection.send(str(code).encode())
    return code


def _limit(seconds: str | None, memory: str | None) -> None:
    """Of this process. The client of a command that was killed exits with 70."""
    if seconds is not None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which kills, be it within C
        signal.alarm(int(seconds))
    if memory is not None:
        resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))


if __name__ == "__main__":
    _serve(sys.argv[1])
