"""The studies that are shipped: each variant composes, has the size it should have, and trains for two batches."""

import dataclasses
import re
from pathlib import Path

import pytest
import torch

from nfsim.classifier import Classifier
from nfsim.errors import BuildError
from nfsim.optimization import optimizer
from nfsim.runs import prepare, train
from nfsim.settings import Settings
from nfsim.studies.declaration import TIERS, load, names, parsed
from nfsim.studies.measures import MEASURES
from nfsim.studies.running import Job, Places, job

STUDIES = [load(name) for name in names()]
EVERY = [
    pytest.param(study, variant, tier, id=f"{study.name}-{variant.name}-{tier}")
    for study in STUDIES
    for variant in study.variants
    for tier in variant.tiers
]
EXPONENTS = (0.1, 1, 10, 100)


def ablations(best: int, **fewer: int) -> dict[str, int]:
    """Parameters of an entry without each of its parts."""
    return dict.fromkeys(("best", "no_rotation", "shuffled"), best) | fewer


LEARNED, FIXED = 32_548, 32_548 - 649
"""Parameters of the historical network on rows, and of the same with fixed biases."""
PARAMETERS = {
    "frame": {
        "cnn": 154_815,
        "linear": 500,
        "mlp_8k": 7_690,
        "mlp_47k": 46_990,
        "mlp_206k": 205_650,
        "oscillator": 46_177,
        "frame_best": 41_292,
    },
    "interpolation": {
        f"{rate}_{n}": 40_249 - 649 * (rate == "exact") for rate in ("sigmoid", "exact") for n in EXPONENTS
    },
    "gain": {
        "without": 40_249,
        "with": 46_177,
        "no_trn": 46_041,
        "no_ct": 42_177,
        "ambassador": 40_285,
        "feedforward": 47_361,
        "attention": 46_185,
    },
    "parameters": {"oscillator_47k": 46_177, "mlp_47k": 46_990, "oscillator_206k": 205_987, "mlp_206k": 205_650},
    "chunks": {
        **dict.fromkeys(("bias_0", "bias_-2", "bias_-5", "rotating"), 18_919),
        "gated_memory": 18_919 + 6 * 649,
        "coupling_memory": 18_921,
        "lstm": 71_434,
        "gru": 53_898,
        "chunks_best": 33_877,
    },
    "rows": {
        **{f"bias_{-n}": LEARNED for n in range(7)},
        **{f"fixed_{-n}": FIXED for n in range(7)},
        "gated_memory": LEARNED + 6 * 649,
        "coupling_memory": LEARNED + 2,
        "rows_best": 35_813,
        "lstm": 82_186,
        "gru": 61_962,
        "cfc": 45_578,
    },
    "saturation": dict.fromkeys(("limiter_scaled", "limiter_unscaled", "clamp_scaled", "clamp_unscaled"), LEARNED),
    "pixels": {**dict.fromkeys(("pixels_best", "permuted_best"), 53_895), "pixels_gru": 51_594, "permuted_gru": 51_594},
    "rows_best": ablations(35_813, no_gain=32_717, no_coupling=35_810),
    "frame_best": ablations(41_292, no_gain=37_884, no_coupling=41_290),
    "chunks_best": ablations(33_877, no_gain=32_797, no_coupling=33_874),
    "pixels_best": ablations(53_895, no_gain=53_805, no_coupling=53_892),
}
LIMITS = {
    "rows/rows_best": 36_500,
    "frame/frame_best": 47_000,
    "frame/oscillator": 47_000,
    "pixels/pixels_best": 134_000,
}


def test_every_variant_has_a_number_of_parameters_that_is_asserted():
    assert {study.name: set(PARAMETERS[study.name]) for study in STUDIES} == {
        study.name: {variant.name for variant in study.variants} for study in STUDIES
    }


def test_every_published_experiment_has_its_study():
    published = {"frame", "interpolation", "gain", "parameters", "chunks", "rows", "saturation", "pixels"}
    assert published | {"rows_best", "frame_best", "chunks_best", "pixels_best"} <= set(names())


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_a_study_is_consistent_in_itself(study):
    assert study.title
    assert study.source
    assert len({variant.name for variant in study.variants}) == len(study.variants)
    for variant in study.variants:
        assert set(variant.measures) <= set(MEASURES)
        assert set(variant.tiers) <= set(TIERS)
        assert re.fullmatch(r"[\w.-]+", variant.name), "the name of a folder"
    for first, second in study.comparisons:
        assert set(study.variant(first).tiers) & set(study.variant(second).tiers), (first, second)


def test_what_is_wrong_in_a_study_is_said_at_once():
    content = {
        "title": "t",
        "variants": {"a": {"override": []}, "b": {"tiers": ["huge"]}},
        "comparisons": [["a", "c"]],
        "tier": {},
    }
    with pytest.raises(BuildError) as caught:
        parsed("odd", content)
    assert caught.value.problems == (
        "study odd: has no source; give it",
        "study odd: unknown tier; known are backbone, comparisons, overrides, source, tiers, title, variants",
        "study odd: a: unknown override; known are base, measures, note, overrides, published, tiers",
        "study odd: a runs in no tier; give it tiers, of quick, full, long",
        "study odd: b: tiers: unknown huge; known are full, long, quick",
        "study odd: comparisons: unknown c; known are a, b",
    )


def quickly(one: Job, root: Path) -> Settings:
    """Settings of a run on few images, in small batches."""
    settings = one.settings()
    settings.data.root, settings.data.limit, settings.data.validation = str(root), 64, 40
    settings.data.batch = 16
    return settings


def backbone_in(folder: Path, one: Job, root: Path) -> str:
    """Run folder of a backbone that has seen 64 images, the same for all tiers."""
    folder = folder / one.variant.name
    if not folder.is_dir():
        settings = quickly(one, root)
        settings.trainer.epochs, settings.logger.progress = 1, False
        run = prepare(settings)
        run.folder = folder
        run.data._splits["test"] = run.data.samples("validation")  # the test split itself is for results
        folder.mkdir(parents=True)
        train(run)
    return str(folder)


@pytest.fixture(scope="module")
def backbones(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("backbones")


@pytest.mark.slow
@pytest.mark.parametrize(("study", "variant", "tier"), EVERY)
def test_every_variant_of_every_study_trains_and_is_measured(study, variant, tier, data_root, backbones):
    if variant.name == "cfc":
        pytest.importorskip("ncps", reason="the extra `peers` holds ncps")
    one = job(study, variant, tier, 0, Places())
    if one.backbone:
        folder = backbone_in(backbones, one.backbone, data_root)
        words = tuple(word.replace(str(one.backbone.folder), folder) for word in one.words)
        one = dataclasses.replace(one, words=words)
    run = prepare(quickly(one, data_root))
    count = sum(p.numel() for p in run.model.parameters() if p.requires_grad)
    assert count == PARAMETERS[study.name][variant.name]
    assert count <= LIMITS.get(f"{study.name}/{variant.name}", count)
    if hasattr(run.model, "ledger"):
        assert sum(run.model.ledger().values()) == count
    classifier = Classifier(run.model, run.settings.trainer)
    steps = optimizer(run.model, run.settings.trainer)
    batches = iter(run.data.loader("train", train=True))
    for _ in range(2):
        loss = classifier.loss(next(batches), "train")
        steps.zero_grad()
        loss.backward()
        steps.step()
        assert torch.isfinite(loss)
    run.model.eval()
    for name in variant.measures:
        points = list(MEASURES[name](run.model, run.data))
        assert points
        assert all(value == value and value >= 0 for _, value in points)
