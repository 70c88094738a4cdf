"""Progress on the terminal: one bar for the whole training, or a few lines where there is no terminal."""

from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

LINES = 10
"""Lines that a training writes at most where the output is a file."""


class Progress(Callback):
    """Shows the epoch with its validation accuracy and loss; draws ten times a second at most, which costs nothing."""

    def __init__(self, console: Console | None = None):
        self.console = console or Console()
        self._bar: Bar | None = None
        self._task = TaskID(0)

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Draw the bar, where there is a terminal."""
        if not self.console.is_terminal:
            return
        self._bar = Bar(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[state]}"),
            console=self.console,
        )
        epochs, batches = int(trainer.max_epochs or 0), int(trainer.num_training_batches)
        done = trainer.current_epoch * batches
        self._task = self._bar.add_task(
            "", total=epochs * batches, completed=done, epoch=trainer.current_epoch + 1, epochs=epochs, state=""
        )
        self._bar.start()

    def on_train_epoch_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Show which epoch it is."""
        if self._bar:
            self._bar.update(self._task, epoch=trainer.current_epoch + 1)

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Move the bar."""
        if self._bar:
            self._bar.advance(self._task)

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Say how the epoch went."""
        seen = trainer.callback_metrics
        state = f"val {100 * float(seen['val/accuracy']):.2f} %, loss {float(seen['val/loss']):.4f}"
        epoch, epochs = trainer.current_epoch + 1, int(trainer.max_epochs or 0)
        if self._bar:
            self._bar.update(self._task, state=state)
        elif epoch % max(1, -(-epochs // LINES)) == 0 or epoch == epochs:
            self.console.print(f"epoch {epoch}/{epochs}: {state}", highlight=False)

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Leave the finished bar on the screen."""
        self._stop()

    def on_exception(self, *args: Any, **kwargs: Any) -> None:
        """Give the terminal back."""
        self._stop()

    def _stop(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None
