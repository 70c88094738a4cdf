"""Lightning without its remarks, and with an interrupt that stays one."""

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.callbacks import Callback

REMARKS = (".*does not have many workers.*", ".*treespec, LeafSpec.*", ".*logging interval.*")
"""Warnings on how Lightning is used, which a user of nfsim cannot act on."""


class Interrupts(Callback):
    """Notes that the user stopped training, which Lightning turns into an exit of the process."""

    seen = False

    def on_exception(self, trainer: lightning.Trainer, module: lightning.LightningModule, exception: Any) -> None:
        """Remember a KeyboardInterrupt."""
        self.seen = self.seen or isinstance(exception, KeyboardInterrupt)


@contextmanager
def interruptible() -> Iterator[Interrupts]:
    """Let a KeyboardInterrupt leave Lightning as one, with the handler of the signal as it was."""
    interrupts = Interrupts()
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield interrupts
    except SystemExit:
        if interrupts.seen:
            raise KeyboardInterrupt from None
        raise
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Lightning's remarks on hardware, workers and tips; its errors stay."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for message in REMARKS:
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
