"""A training changes nothing outside: no library talks, and random numbers stay as they were."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from transformers.utils import logging as hf_logging


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep libraries from talking, and their changes of the environment from lasting."""
    environment, disabled = dict(os.environ), logging.root.manager.disable
    verbosity = hf_logging.get_verbosity()
    hf_logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        hf_logging.set_verbosity(verbosity)
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)


@contextlib.contextmanager
def own_random_state() -> Iterator[None]:
    """Leave the process's random numbers as they were: a training seeds them all."""
    states: tuple[tuple[Callable[[Any], Any], Any], ...] = (
        (random.setstate, random.getstate()),
        (np.random.set_state, np.random.get_state()),
    )
    with torch.random.fork_rng():
        try:
            yield
        finally:
            for restore, state in states:
                restore(state)
