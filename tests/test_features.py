"""Features of a frozen backbone: what they are, how they are kept, and that the backbone stays as it is."""

import json
import re

import pytest
import torch

import nfsim
from image_files import write_images
from nfsim import checkpoints
from nfsim.backbones import RECIPE, read_backbone
from nfsim.callbacks import BEST
from nfsim.configuration import compose, settle
from nfsim.data import DATASETS, MNIST
from nfsim.models.cnn import CNN
from nfsim.models.mlp import MLP
from nfsim.runs import prepare

TINY = {"channels": (2, 4), "hidden": 3}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a data root, and the run folder of a backbone that was trained on it for an epoch."""
    root, run = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("run")
    write_images(root)
    data = MNIST(root=root, validation=50)
    torch.manual_seed(0)
    config = json.dumps({"data": {"validation": 50, "split_seed": 0}})
    nfsim.fit(CNN(28, data.labels, 28, **TINY), data, epochs=1, folder=run, progress=False, config=config)
    return root, run


def features_of(trained, name="mnist_frame", **options):
    root, run = trained
    return DATASETS[name](root=root, backbone=run, **{"validation": 50} | options)


def test_features_are_the_channel_mean_of_the_last_maps_standardised_over_the_training_split(trained):
    root, run = trained
    model, _ = read_backbone(run, "data.backbone")
    images = MNIST(root=root, validation=50)
    raw = {}
    with torch.no_grad():
        for split in ("train", "validation", "test"):
            maps = model.backbone(images.samples(split).x[:, None])
            assert maps.shape[1:] == (4, 7, 7)
            raw[split] = maps.mean(1).reshape(-1, 1, 49)
    mean, scale = raw["train"].mean(0), raw["train"].std(0)
    data = features_of(trained)
    for split, value in raw.items():
        x = torch.cat([batch.x for batch in data.loader(split)])
        torch.testing.assert_close(x, (value - mean) / scale, rtol=1e-4, atol=1e-4)  # sums of 36 products in float32
        assert torch.equal(data.samples(split).target, images.samples(split).target)


def test_chunks_are_the_frame_in_seven_rows(trained):
    frame, chunks = (features_of(trained, name) for name in ("mnist_frame", "mnist_chunks"))
    assert (frame.steps, frame.features, chunks.steps, chunks.features) == (1, 49, 7, 7)
    a, b = (next(iter(data.loader("test"))).x for data in (frame, chunks))
    assert torch.equal(a.reshape(-1, 7, 7), b)


def test_samples_as_stored_are_laid_out_without_a_loader(trained):
    data = features_of(trained)
    x = data.layout(data.samples("validation").x[:3])  # the layout is looked up before anything is read
    assert torch.equal(x, features_of(trained).loader("validation").dataset[0, torch.arange(3)].x)
    assert x.shape == (3, 1, 49)


def test_a_smaller_training_split_has_the_same_features(trained):
    whole, part = features_of(trained).samples("train").x, features_of(trained, limit=20).samples("train").x
    assert torch.equal(whole[:20], part)


def test_features_are_computed_once_and_again_where_the_images_change(trained, tmp_path, monkeypatch):
    run = trained[1]
    features_of(trained).setup("fit")
    calls = []
    compute = CNN.channel_mean
    monkeypatch.setattr(CNN, "channel_mean", lambda self, x: calls.append(len(x)) or compute(self, x))
    features_of(trained).setup("fit")
    assert calls == []
    write_images(tmp_path, train=90)
    features_of((tmp_path, run)).setup("fit")
    assert calls == [90]
    (run / "features-MNIST-train.pt").write_bytes(b"no features")
    features_of(trained).setup("fit")
    assert calls == [90, 200]
    assert not list(run.glob(".features*")), "a temporary file was left"


def test_without_a_place_to_keep_them_features_are_still_right(trained, monkeypatch):
    expected = features_of(trained).samples("train").x
    (trained[1] / "features-MNIST-train.pt").unlink()
    with monkeypatch.context() as patch:
        patch.setattr("nfsim.data.features.replacing", lambda path: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.warns(UserWarning, match="No space left.*computed again at each start"):
            assert torch.equal(features_of(trained).samples("train").x, expected)


def test_with_shifts_the_features_follow_the_moved_image(trained):
    still, moved = features_of(trained, batch=50), features_of(trained, batch=50, shift=2)
    for split in ("validation", "test"):
        assert torch.equal(still.samples(split).x, moved.samples(split).x)
    (_, index), *_ = moved.loader("train", train=True).sampler
    unmoved, batch = still.samples("train").x[index], next(iter(moved.loader("train", train=True))).x
    assert batch.shape == (50, 1, 49)
    assert not torch.allclose(batch[:, 0], unmoved)
    plain = next(iter(moved.loader("train"))).x  # not in training: the same images, at rest
    torch.testing.assert_close(plain[:, 0], still.samples("train").x[: len(plain)], rtol=1e-4, atol=1e-4)


def test_a_missing_backbone_is_named_with_the_command_that_makes_one(tmp_path):
    write_images(tmp_path)
    with pytest.raises(ValueError, match=f"data.backbone: not given.*{re.escape(RECIPE)}"):
        DATASETS["mnist_frame"](root=tmp_path, validation=50).setup("fit")
    with pytest.raises(FileNotFoundError, match=f"data.backbone=nowhere: there is no .*{re.escape(RECIPE)}"):
        DATASETS["mnist_frame"](root=tmp_path, validation=50, backbone="nowhere").setup("fit")


def test_the_command_that_makes_a_backbone_is_one():
    words = RECIPE.split()
    assert words[:2] == ["nfsim", "train"]
    assert settle(compose(words[2:])).model.name == "cnn"


def test_a_run_of_another_model_is_no_backbone(trained, tmp_path):
    data = MNIST(root=trained[0], validation=50)
    nfsim.fit(MLP(28, data.labels, 28, hidden=[2]), data, epochs=1, folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match="holds a MLP, not a CNN"):
        features_of((trained[0], tmp_path)).setup("fit")


@pytest.mark.parametrize(("option", "value"), [("validation", 60), ("split_seed", 1)])
def test_a_backbone_that_has_seen_the_validation_images_is_refused(trained, option, value):
    with pytest.raises(ValueError, match=f"data.{option}={value}: the backbone .* was trained with data.{option}="):
        features_of(trained, **{option: value}).setup("fit")


def test_only_one_or_seven_steps_can_be_had():
    with pytest.raises(ValueError, match="steps 2 is neither 1 nor 7"):
        DATASETS["mnist_chunks"](steps=2)


def frozen_run(trained):
    root, run = trained
    overrides = ("model=cnn", f"model.backbone={run}", "model.hidden=3", "data.batch=25", "trainer.epochs=1")
    return prepare(settle(compose(["data=mnist_rows", f"data.root={root}", "data.validation=50", *overrides])))


def test_a_frozen_backbone_gets_no_gradient_and_keeps_every_value(trained):
    run = frozen_run(trained)
    model, original = run.model, read_backbone(trained[1], "model.backbone")[0].backbone.state_dict()
    batch = next(iter(run.data.train_dataloader()))
    model.train()
    model(batch.x).logits.sum().backward()
    assert all(p.grad is None for p in model.backbone.parameters())
    assert all(p.grad is not None for p in model.head.parameters())
    head = model.head[1].weight.detach().clone()
    result = nfsim.fit(model, run.data, epochs=1, progress=False)
    assert not torch.equal(head, model.head[1].weight)
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, original[name]), name
    assert result.metrics["parameters"] == (4 * 49 + 1) * 3 + 4 * 10


def test_a_model_on_a_frozen_backbone_is_loaded_without_its_run(trained, tmp_path):
    run = frozen_run(trained)
    result = nfsim.fit(run.model, run.data, epochs=1, folder=tmp_path, progress=False)
    loaded, x = nfsim.load(tmp_path), run.data.samples("test").x
    assert loaded.frozen
    assert torch.equal(loaded(x).logits, result.model(x).logits)
    assert checkpoints.read(tmp_path / BEST)["nfsim"]["kind"] == "CNN"
