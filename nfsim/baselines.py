"""Models that bypass the declared network, built from the settings of a run."""

from collections.abc import Callable
from dataclasses import asdict
from enum import Enum
from typing import Any

import torch
from torch import nn

from nfsim.backbones import read_backbone
from nfsim.data.abstract import AbstractData
from nfsim.data.randomness import epoch_seed
from nfsim.models.cfc import CfC
from nfsim.models.cnn import CNN
from nfsim.models.mlp import MLP
from nfsim.models.recurrent import Recurrent
from nfsim.settings import CNNSettings, Settings

Builder = Callable[[Settings, AbstractData], nn.Module]


def plain(settings: Any) -> dict[str, Any]:
    """Fields of a group, choices by their names."""
    return {key: value.name if isinstance(value, Enum) else value for key, value in asdict(settings).items()}


def _of(kind: Callable[..., nn.Module], *facts: str, **fixed: str) -> Builder:
    """Builder of `kind` from the dataset's `facts`, the options of the group `model`, and what is `fixed`."""

    def build(settings: Settings, data: AbstractData) -> nn.Module:
        options = plain(settings.model)
        del options["name"]
        torch.manual_seed(epoch_seed(settings.seed, -1))
        return kind(**{fact: getattr(data, fact) for fact in facts}, **options, **fixed)

    return build


def _cnn(settings: Settings, data: AbstractData) -> nn.Module:
    model = settings.model
    assert isinstance(model, CNNSettings)
    torch.manual_seed(epoch_seed(settings.seed, -1))
    facts = data.features, data.labels, data.steps
    if model.backbone is None:
        return CNN(*facts, model.channels, model.hidden, model.dropout)
    trained, _ = read_backbone(model.backbone, "model.backbone")
    built = CNN(*facts, trained.channels, model.hidden, model.dropout, frozen=True)
    built.backbone.load_state_dict(trained.backbone.state_dict())
    return built


BASELINES: dict[str, Builder] = {
    "mlp": _of(MLP, "features", "labels", "steps"),
    "cnn": _cnn,
    "lstm": _of(Recurrent, "features", "labels", cell="lstm"),
    "gru": _of(Recurrent, "features", "labels", cell="gru"),
    "cfc": _of(CfC, "features", "labels"),
}
"""{option of the group `model`: its builder}."""
KINDS: dict[str, Callable[[str], nn.Module]] = {kind.__name__: kind.from_json for kind in (MLP, CNN, Recurrent, CfC)}
"""{kind in a checkpoint: model of its declaration}."""
