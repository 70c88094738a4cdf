"""The first losses of three experiments, as they are and as they were: any change of a result shows in them."""

from pathlib import Path

import torch

from nfsim.assembly import make_data, make_network
from nfsim.classifier import Classifier
from nfsim.compiler import compile
from nfsim.configuration import compose, settle
from nfsim.optimization import optimizer, scheduler

FOLDER = Path(__file__).parents[1] / "studies" / "golden"
STEPS = 20
SMALL = ["network=thalamocortical", "network.sensory=20", "network.prefrontal=40", "network.motor=20", "data.batch=16"]
EXPERIMENTS = {
    "digits": ["data=digits"],
    "digits_thalamocortical": ["data=digits", *SMALL],
    "rows_thalamocortical": ["data=mnist_rows", "data.limit=320", *SMALL],
}
"""What one would type after `nfsim train`; small networks where the float64 reference steps through time."""


def losses(name: str, backend: str) -> list[float]:
    """Loss of each of the first optimizer steps, on the backend "torch" (float32) or "reference" (float64)."""
    settings = settle(compose(EXPERIMENTS[name]))
    data = make_data(settings)
    model = compile(make_network(settings, data), backend=backend, device="cpu")
    classifier = Classifier(model, settings.trainer, settings.seed).train()
    adamw = optimizer(model, settings.trainer)
    course = scheduler(adamw, settings.trainer, 10 * STEPS)
    found: list[float] = []
    for batch in data.loader("train", train=True):
        loss = classifier.loss(batch, "train")
        found.append(float(loss.detach()))
        if len(found) == STEPS:
            break
        adamw.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.trainer.clip)
        adamw.step()
        course.step()
    return found


def stored(name: str, backend: str) -> list[float]:
    """Losses as they were: a line a step, the step and its loss."""
    lines = (FOLDER / f"{name}_{backend}.txt").read_text(encoding="utf-8").splitlines()
    assert [int(line.split()[0]) for line in lines] == list(range(1, STEPS + 1))
    return [float(line.split()[1]) for line in lines]


def store(name: str, backend: str) -> None:
    """Write the losses of today as those to hold from now on."""
    FOLDER.mkdir(exist_ok=True)
    lines = [f"{step} {loss!r}\n" for step, loss in enumerate(losses(name, backend), 1)]
    (FOLDER / f"{name}_{backend}.txt").write_text("".join(lines), encoding="utf-8")
