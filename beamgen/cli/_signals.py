"""A command that is asked to end by a signal ends as after an error: it cleans up first."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click

_ASKING = [signal.SIGTERM, *([signal.SIGHUP] if sys.platform != "win32" else [])]


class _Stopped(BaseException):
    """A signal came; nothing but ``orderly_end`` is to catch it."""


@contextmanager
def orderly_end() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block in order, and the process with 128 and their number.

    Those that a host handles or ignores, as ``nohup`` does, are its own.
    """
    ours = [number for number in _ASKING if _is_ours(number)]
    for number in ours:
        signal.signal(number, _stop)
    try:
        yield
    except _Stopped as stopped:
        while ours:  # it ends already
            signal.signal(ours.pop(), signal.SIG_IGN)
        number = signal.Signals(stopped.args[0])
        click.echo(f"error: stopped by {number.name}", err=True)
        sys.exit(128 + number)
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _is_ours(number: signal.Signals) -> bool:
    """Whether a signal would kill; only the main thread may change that."""
    in_main = threading.current_thread() is threading.main_thread()
    return in_main and signal.getsignal(number) is signal.SIG_DFL


def _stop(number: int, frame: FrameType | None) -> None:
    raise _Stopped(number)
