"""Settings of a training run: every configuration group, field by field.

These dataclasses are the schema of the files in `nfsim/conf`, the source of `nfsim train --help`, and the settings that
the Python functions take. None is frozen, since Hydra writes into them.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

REQUIRED = "???"
"""What Hydra reads as: must be given."""


class Schedule(Enum):
    """Course of the learning rate."""

    one_cycle = "one_cycle"
    cosine = "cosine"
    constant = "constant"


class Device(Enum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Select(Enum):
    """Which epoch's weights are kept."""

    best = "best"
    last = "last"


class When(Enum):
    """Steps that a readout reads."""

    last = "last"
    mean = "mean"
    each = "each"


class Gating(Enum):
    """What a thalamus reads; attention mixes information in the place of gain."""

    state = "state"
    feedforward = "feedforward"
    ambassador = "ambassador"
    attention = "attention"


class Memory(Enum):
    """What remembers beside the state."""

    none = "none"
    gated = "gated"
    coupling = "coupling"


class Rate(Enum):
    """Form of the update rate."""

    sigmoid = "sigmoid"
    exact = "exact"


class Limiter(Enum):
    """What bounds the state."""

    amplitude = "amplitude"
    clamp = "clamp"
    none = "none"


class Scaling(Enum):
    """What the size of a coupling is."""

    rows = "rows"
    max = "max"
    none = "none"


class Activation(Enum):
    """Nonlinearity of hidden units."""

    relu = "relu"
    gelu = "gelu"


class Solver(Enum):
    """Integration of an ordinary differential equation."""

    dopri5 = "dopri5"
    rk4 = "rk4"
    euler = "euler"


class Layout(Enum):
    """Steps of an image."""

    rows = "rows"
    pixels = "pixels"
    permuted = "permuted"


@dataclass
class LoadingSettings:
    """Fields that all datasets share."""

    batch: int = 64
    """Samples per training step."""
    evaluation_batch: int = 500
    """Samples per step where no gradient is needed."""
    workers: int = 0
    """Processes that prepare batches; 0: the training process itself, faster for data in memory."""
    shift: int = 0
    """Pixels by which training images move at most, each way."""
    rotate: float = 0.0
    """Degrees by which training images turn at most, each way."""
    zoom: float = 0.0
    """Share by which training images change their size at most, each way."""


@dataclass
class DigitsSettings(LoadingSettings):
    """Digits of scikit-learn, 8 x 8 pixels as one frame of 64 features; nothing to download."""

    name: str = "digits"
    """Name in `nfsim.data.DATASETS`."""


@dataclass
class ImagesSettings(LoadingSettings):
    """MNIST and its kin: 60,000 training and 10,000 test images of 28 x 28 pixels."""

    root: str | None = None
    """Data root that holds MNIST/raw (FashionMNIST/raw, KMNIST/raw); null: NFSIM_DATA, else ~/.cache/nfsim."""
    download: bool = False
    """Whether torchvision may download what is missing."""
    validation: int = 5000
    """Training images set apart for validation."""
    limit: int = 0
    """Training images to use, 0: all."""
    split_seed: int = 0
    """Seed of the draw of validation images."""


@dataclass
class MNISTSettings(ImagesSettings):
    """MNIST row by row: 28 steps of 28 features."""

    name: str = "mnist"
    """Name in `nfsim.data.DATASETS`."""


@dataclass
class MNISTRowsSettings(ImagesSettings):
    """MNIST row by row, under its full name."""

    name: str = "mnist_rows"
    """Name in `nfsim.data.DATASETS`."""


@dataclass
class MNISTPixelsSettings(ImagesSettings):
    """MNIST pixel by pixel: 784 steps of one feature."""

    name: str = "mnist_pixels"
    """Name in `nfsim.data.DATASETS`."""


@dataclass
class MNISTPermutedSettings(ImagesSettings):
    """MNIST pixel by pixel in a random order: 784 steps of one feature."""

    name: str = "mnist_permuted"
    """Name in `nfsim.data.DATASETS`."""
    permutation_seed: int = 0
    """Seed of the order of the pixels."""


@dataclass
class FeaturesSettings(ImagesSettings):
    """MNIST as a frozen backbone sees it: the mean over channels of its last 7 x 7 maps."""

    backbone: str | None = None
    """Run folder of the frozen CNN, as made by model=cnn."""


@dataclass
class MNISTFrameSettings(FeaturesSettings):
    """The 49 features of a frozen CNN as one step."""

    name: str = "mnist_frame"
    """Name in `nfsim.data.DATASETS`."""


@dataclass
class MNISTChunksSettings(FeaturesSettings):
    """The 49 features of a frozen CNN as 7 steps of 7."""

    name: str = "mnist_chunks"
    """Name in `nfsim.data.DATASETS`."""


@dataclass
class LaidOutSettings(ImagesSettings):
    """Images whose layout is a setting."""

    layout: Layout = Layout.rows
    """Steps of an image: its rows, its pixels, or its pixels in a random order."""
    permutation_seed: int = 0
    """Seed of the order of the pixels of layout=permuted."""


@dataclass
class FashionMNISTSettings(LaidOutSettings):
    """Fashion-MNIST, clothes of ten kinds."""

    name: str = "fashion_mnist"
    """Name in `nfsim.data.DATASETS`."""


@dataclass
class KMNISTSettings(LaidOutSettings):
    """Kuzushiji-MNIST, cursive Japanese characters of ten kinds."""

    name: str = "kmnist"
    """Name in `nfsim.data.DATASETS`."""


@dataclass
class FormSettings:
    """Fields that both presets share: the form of their cells and of their coupling."""

    memory: Memory = Memory.none
    """Memory beside the state: none, gated in every node, or Hebbian in the coupling."""
    tau: float = 1.0
    """Time constant of the update rate, in time units."""
    rate: Rate = Rate.sigmoid
    """Form of the update rate: a learned rate per step, or the exact one, which needs no bias."""
    learn_bias: bool = True
    """Whether training changes the bias of the update rate."""
    limiter: Limiter = Limiter.amplitude
    """What bounds the state: a smooth limiter of the steady state, a clamp after the update, or nothing."""
    amplitude: float = 1.0
    """Bound of the limiter, dimensionless; 10 is the historical clamp."""
    scaling: Scaling = Scaling.rows
    """What `coupling` is the size of: every row sum, the largest row sum, or each weight."""
    shuffle: bool = False
    """Whether neighbours are those of nodes with shuffled places."""


@dataclass
class HierarchySettings(FormSettings):
    """Input -> sensory -> prefrontal -> motor, gain from the input (`nfsim.regions.presets.hierarchy`)."""

    name: str = "hierarchy"
    """Name in `nfsim.assembly.NETWORKS`."""
    sensory: int = 96
    """Nodes of the sensory area."""
    prefrontal: int = 96
    """Nodes of the prefrontal area."""
    motor: int = 60
    """Nodes of the motor area, 0: none, and the prefrontal area is read."""
    rank: int = 32
    """Hidden units of the drives between areas."""
    nuclei: int = 2
    """Relay nuclei of each area, 0: no thalamus."""
    key: int = 16
    """Dimension of queries and keys of the nuclei; with feedforward gating keys are positions, and 3 is as rich."""
    neighbours: int = 6
    """Nearest neighbours on the sphere that couple within each area, 0: no coupling."""
    coupling: float = 0.5
    """Row sum of the coupling matrix, dimensionless."""
    bias: list[float] = field(default_factory=lambda: [-4.0, 1.0])
    """Of the update rates, per step: lowest and highest, drawn evenly over the nodes."""
    omega: list[float] = field(default_factory=lambda: [0.0, 2.513274])
    """Rotation of the states, rad per time unit: lowest and highest, drawn evenly over the nodes; [0, 0]: none."""
    learn_omega: bool = False
    """Whether training changes the rotation."""
    gating: Gating = Gating.feedforward
    """What the relay nuclei read: the input alone, the state of their area, or one node of it; or attention."""
    trn: bool = True
    """Whether the nuclei of an area inhibit each other by way of the reticular nucleus."""
    feedback: bool = False
    """Whether the prefrontal rate feeds back to the nuclei."""
    dropout: float = 0.0
    """Share of hidden units between areas, and of what the readout reads, that training leaves out."""
    when: When = When.last
    """What the readout reads: the last step, the mean over steps, or each step."""
    ticks: int | None = None
    """Network ticks per input step; null: 1 for sequences, 4 for a single frame."""


@dataclass
class ThalamocorticalSettings(FormSettings):
    """The historical form: input to all populations, readout from all (`nfsim.regions.presets.thalamocortical`)."""

    name: str = "thalamocortical"
    """Name in `nfsim.assembly.NETWORKS`."""
    sensory: int = 49
    """Nodes of the sensory area."""
    prefrontal: int = 500
    """Nodes of the prefrontal area."""
    motor: int = 100
    """Nodes of the motor area, a multiple of the number of labels for a sector each."""
    nuclei: int = 8
    """Thalamic nuclei, 0: no thalamus."""
    neighbours: int = 12
    """Nearest neighbours on the sphere that couple, over all areas, 0: no coupling."""
    coupling: float = 0.5
    """Row sum of the coupling matrix, dimensionless."""
    bias: float | None = None
    """Of the update rate, per step; null: -5 (slow decay) for sequences, 0 for a single frame."""
    omega: float = 0.0
    """Rotation of the state, rad per time unit."""
    gating: Gating = Gating.state
    """What the thalamus reads: the state of the areas, the input alone, or one node per sector; or attention."""
    trn: bool = True
    """Whether nuclei inhibit each other by way of the reticular nucleus."""
    feedback: bool = True
    """Whether the prefrontal rate feeds back to the nuclei."""
    ticks: int | None = None
    """Network ticks per input step; null: 1 for sequences, 4 for a single frame."""


@dataclass
class FileSettings:
    """A network written by `Network.to_json`."""

    name: str = "file"
    """Name in `nfsim.assembly.NETWORKS`."""
    path: str = REQUIRED
    """JSON file."""


@dataclass
class FactorySettings:
    """A network built by a function of yours: target(features=, labels=, dt=, seed=, **options) -> nfsim.Network."""

    name: str = "factory"
    """Name in `nfsim.assembly.NETWORKS`."""
    target: str = REQUIRED
    """The function: package.module:function, or path/to/file.py:function."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the function, as network.options.NAME=VALUE."""


@dataclass
class NoNetworkSettings:
    """No declared network, for models that take none."""

    name: str = "none"
    """Always none."""


@dataclass
class NetworkModelSettings:
    """The declared network, compiled."""

    name: str = "network"
    """Name in `nfsim.assembly.MODELS`."""


@dataclass
class MLPSettings:
    """Baseline that bypasses the network: all steps side by side -> hidden layers -> labels."""

    name: str = "mlp"
    """Name in `nfsim.assembly.MODELS`."""
    hidden: list[int] = field(default_factory=lambda: [128])
    """Units of each hidden layer."""
    activation: Activation = Activation.relu
    """Nonlinearity of the hidden layers."""
    dropout: float = 0.0
    """Share of hidden units dropped in training."""


@dataclass
class RecurrentSettings:
    """Recurrent baselines, read out at the last step."""

    hidden: int = 128
    """Hidden units."""
    dropout: float = 0.0
    """Share of hidden units dropped before the readout in training."""


@dataclass
class LSTMSettings(RecurrentSettings):
    """Baseline: one layer of LSTM."""

    name: str = "lstm"
    """Name in `nfsim.assembly.MODELS`."""


@dataclass
class GRUSettings(RecurrentSettings):
    """Baseline: one layer of GRU."""

    name: str = "gru"
    """Name in `nfsim.assembly.MODELS`."""


@dataclass
class CfCSettings(RecurrentSettings):
    """Peer: the closed-form continuous-time network of the package ncps (extra peers)."""

    name: str = "cfc"
    """Name in `nfsim.assembly.MODELS`."""
    hidden: int = 64
    """Hidden units."""


@dataclass
class CNNSettings:
    """Reference for whole images: convolutions -> 7 x 7 maps -> hidden layer -> labels."""

    name: str = "cnn"
    """Name in `nfsim.assembly.MODELS`."""
    channels: list[int] = field(default_factory=lambda: [16, 32])
    """Channels of the first convolution, and of the second."""
    hidden: int = 95
    """Units of the hidden layer of the head."""
    dropout: float = 0.0
    """Share of hidden units dropped in training."""
    backbone: str | None = None
    """Run of model=cnn whose convolutions are taken, frozen, under a new head; null: all is trained."""


@dataclass
class CTMSettings:
    """The declared network read by the synchrony of pairs of nodes, as continuous thought machines are."""

    name: str = "ctm"
    """Name in `nfsim.assembly.MODELS`."""
    pairs: int = 256
    """Pairs of nodes, drawn at random."""
    population: str | None = None
    """Population whose nodes are paired; null: any node."""


@dataclass
class ODESettings:
    """The declared network in continuous time, integrated by torchdiffeq (extra ode)."""

    name: str = "ode"
    """Name in `nfsim.assembly.MODELS`."""
    method: Solver = Solver.dopri5
    """Solver: dopri5 chooses its own steps, rk4 and euler take one for each tick."""
    rtol: float = 1e-4
    """Relative tolerance of dopri5."""
    atol: float = 1e-5
    """Absolute tolerance of dopri5."""


@dataclass
class TrainerSettings:
    """How a model is trained."""

    epochs: int = 30
    """Passes over the training split."""
    lr: float = 3e-3
    """Learning rate of AdamW at its highest, per optimizer step."""
    schedule: Schedule = Schedule.one_cycle
    """Course of the learning rate over all optimizer steps."""
    warmup: float = 0.3
    """Share of the steps over which one_cycle and cosine rise to lr."""
    weight_decay: float = 0.01
    """Decay of weight matrices, per unit of learning rate; biases and constants of nodes are spared."""
    clip: float = 1.0
    """Largest norm of the gradient, 0: not clipped."""
    label_smoothing: float = 0.0
    """Share of the target spread evenly over all labels, in [0, 1)."""
    energy_weight: float = 0.0
    """Weight of the mean free energy in the loss."""
    confidence_weight: float = 0.0
    """Weight of the mean entropy of the prediction (nats) in the loss."""
    patience: int = 0
    """Epochs without a better validation accuracy after which training stops, 0: never."""
    select: Select = Select.best
    """Which epoch is kept: the best in validation accuracy (then loss), or the last."""
    device: Device = Device.auto
    """Where to compute; auto: cuda, else mps, else cpu."""
    guard: bool = False
    """Whether to look at every state of a network, and stop at the first that is not finite, by its node and step."""


@dataclass
class LoggerSettings:
    """What a run writes beside its checkpoints."""

    csv: bool = True
    """history.csv, a row per epoch."""
    tensorboard: bool = True
    """Event files for TensorBoard."""
    energy: int = 32
    """Validation samples whose free energy is written to ledger.csv after each epoch, 0: none."""
    progress: bool = True
    """Progress on the terminal."""


@dataclass
class Settings:
    """A whole run; the groups hold the settings of the option that was chosen."""

    data: Any = REQUIRED
    """The dataset."""
    network: Any = REQUIRED
    """The declaration."""
    model: Any = REQUIRED
    """What is trained."""
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    """How it is trained."""
    logger: LoggerSettings = field(default_factory=LoggerSettings)
    """What is written down."""
    seed: int = 0
    """Of wiring, initial values, order and dropout."""
    runs: str = "runs"
    """Folder that holds the run folders."""
    name: str = ""
    """End of the run folder's name; empty: the names of model and data."""


SCHEMAS: dict[str, dict[str, type]] = {
    "data": {
        "digits": DigitsSettings,
        "mnist": MNISTSettings,
        "mnist_rows": MNISTRowsSettings,
        "mnist_pixels": MNISTPixelsSettings,
        "mnist_permuted": MNISTPermutedSettings,
        "mnist_frame": MNISTFrameSettings,
        "mnist_chunks": MNISTChunksSettings,
        "fashion_mnist": FashionMNISTSettings,
        "kmnist": KMNISTSettings,
    },
    "network": {
        "hierarchy": HierarchySettings,
        "thalamocortical": ThalamocorticalSettings,
        "file": FileSettings,
        "factory": FactorySettings,
        "none": NoNetworkSettings,
    },
    "model": {
        "network": NetworkModelSettings,
        "mlp": MLPSettings,
        "lstm": LSTMSettings,
        "gru": GRUSettings,
        "cfc": CfCSettings,
        "cnn": CNNSettings,
        "ctm": CTMSettings,
        "ode": ODESettings,
    },
}
"""{group: {option: its fields}}; each option has a file of its name in `nfsim/conf/GROUP`."""
