"""Datasets: their splits, the order of their batches, augmentation, and what is refused."""

import numpy as np
import pytest
import torch

from image_files import write_images
from nfsim.data import DATASETS, MNIST, Arrays, Digits, data_root
from nfsim.data.augmentation import random_offsets, random_shares, shift, turn
from nfsim.data.batches import EpochOrder
from nfsim.data.images import FILES
from nfsim.data.randomness import random_bits, shuffled


def some_arrays(n=10, steps=4, features=3, **options):
    rng = np.random.default_rng(0)
    part = rng.normal(size=(n, steps, features)), np.arange(n) % 2
    return Arrays(train=part, validation=part, **options)


def test_digits_are_split_once_and_for_all_with_every_class_in_proportion():
    data = Digits(seed=5)
    splits = {split: data.samples(split) for split in ("train", "validation", "test")}
    assert {name: len(part.x) for name, part in splits.items()} == {"train": 1257, "validation": 180, "test": 360}
    images = torch.cat([part.x.flatten(1) for part in splits.values()])
    assert len(images.unique(dim=0)) == 1797, "an image is in two splits"
    for part in splits.values():
        share = torch.bincount(part.target) / len(part.target)
        torch.testing.assert_close(share, torch.full((10,), 0.1), atol=0.012, rtol=0)
        assert part.x.min() == 0
        assert part.x.max() == 1
    torch.testing.assert_close(Digits(seed=0).samples("test").x, splits["test"].x, atol=0, rtol=0)


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_says_what_it_is_before_anything_is_read(name, monkeypatch):
    monkeypatch.setenv("NFSIM_DATA", "/nowhere")
    data = DATASETS[name]()
    assert data.features > 0
    assert len(data.labels) == 10
    assert data.steps > 0
    assert data.dt > 0


def test_batches_have_the_declared_shape_and_cover_each_sample_once():
    data = Digits(batch=100)
    batches = list(data.train_dataloader())
    assert batches[0].x.shape == (100, data.steps, data.features)
    seen = torch.cat([batch.x[:, 0] for batch in batches])
    assert len(seen.unique(dim=0)) == len(seen) == 1257


def test_order_is_a_function_of_seed_and_epoch_whatever_was_drawn_before():
    order = EpochOrder(50, 8, seed=3, shuffle=True)
    first = [list(order) for order.epoch in (0, 1, 0)]
    again = EpochOrder(50, 8, seed=3, shuffle=True, epoch=1)
    flat = [torch.cat([index for _, index in batches]) for batches in (*first, list(again))]
    assert torch.equal(flat[0], flat[2])
    assert torch.equal(flat[1], flat[3])
    assert not torch.equal(flat[0], flat[1])
    assert torch.equal(flat[0].sort().values, torch.arange(50))
    assert not torch.equal(shuffled(50, seed=4), flat[0])


def test_a_loader_leaves_the_global_random_numbers_alone():
    state = torch.get_rng_state()
    list(some_arrays().train_dataloader())
    assert torch.equal(state, torch.get_rng_state())


def test_random_bits_are_uniform_and_unlike_for_neighbouring_keys():
    bits = random_bits(0, np.arange(4)[:, None], np.arange(20_000))
    share = (bits / 2**64).mean(1)
    # the mean of n uniform numbers has a standard deviation of 1 / sqrt(12 n) = 0.002
    np.testing.assert_allclose(share, 0.5, atol=0.01)
    assert abs(np.corrcoef(bits / 2**64) - np.eye(4)).max() < 0.04


def test_shift_is_a_move_with_zeros_at_the_border():
    images = torch.rand(7, 5, 6)
    offsets = random_offsets(seed=0, epoch=0, index=torch.arange(7), most=2)
    for image, moved, (down, right) in zip(images, shift(images, offsets), offsets.tolist(), strict=True):
        expected = torch.zeros_like(image)
        for r in range(5):
            for c in range(6):
                if 0 <= r - down < 5 and 0 <= c - right < 6:
                    expected[r, c] = image[r - down, c - right]
        assert torch.equal(moved, expected)


def test_shifts_depend_on_seed_epoch_and_sample_and_not_on_the_batch():
    whole = random_offsets(1, 2, torch.arange(1000), most=3)
    assert torch.equal(whole[500:503], random_offsets(1, 2, torch.tensor([500, 501, 502]), most=3))
    assert not torch.equal(whole, random_offsets(1, 3, torch.arange(1000), most=3))
    assert whole.unique().tolist() == [-3, -2, -1, 0, 1, 2, 3]


def test_a_quarter_turn_moves_every_pixel_to_its_place():
    images = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    quarter = torch.full((3,), np.pi / 2)
    torch.testing.assert_close(turn(images, quarter, torch.ones(3)), images.rot90(1, (1, 2)), atol=1e-5, rtol=0)
    torch.testing.assert_close(turn(images, 0 * quarter, torch.ones(3)), images, atol=1e-6, rtol=0)


def test_zoom_magnifies_about_the_middle():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 41), torch.linspace(-1, 1, 41), indexing="ij")
    disc = ((x.square() + y.square()) < 0.25).float()[None]
    grown = turn(disc, torch.zeros(1), torch.tensor([1.4]))
    # the area of a disc grows with the square of its radius; its edge is a pixel wide
    assert (grown.sum() / disc.sum()).item() == pytest.approx(1.4**2, rel=0.03)
    mass = grown[0].sum(0)
    assert (mass * torch.arange(41)).sum() / mass.sum() == pytest.approx(20, abs=0.05)


def test_random_shares_are_uniform_and_depend_on_seed_epoch_and_sample_alone():
    shares = random_shares(0, 1, torch.arange(20_000), 2)
    assert -1 <= shares.min() < -0.99
    assert 0.99 < shares.max() < 1
    assert shares.mean().abs() < 0.02
    assert shares.square().mean().item() == pytest.approx(1 / 3, abs=0.01)
    assert torch.equal(random_shares(0, 1, torch.arange(7, 9), 2), shares[7:9])
    for other in ((1, 1, 2), (0, 2, 2), (0, 1, 3)):
        assert not torch.equal(random_shares(*other[:2], torch.arange(9), other[2]), shares[:9])


@pytest.mark.parametrize("wrong", [{"rotate": 181.0}, {"rotate": float("nan")}, {"zoom": 1.0}, {"zoom": -0.1}])
def test_moves_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=rf"data: {next(iter(wrong))} .* is not in"):
        Digits(**wrong)


@pytest.mark.parametrize("moves", [{"shift": 2}, {"rotate": 10.0}, {"zoom": 0.1}])
def test_validation_and_test_are_never_moved(moves):
    plain, shifted = Digits(), Digits(**moves)
    for split in ("validation", "test"):
        assert torch.equal(next(iter(plain.loader(split))).x, next(iter(shifted.loader(split))).x)
    assert not torch.equal(next(iter(plain.train_dataloader())).x, next(iter(shifted.train_dataloader())).x)


@pytest.mark.slow
def test_two_worker_processes_give_the_batches_of_none():
    plain, workers = (Digits(shift=1, workers=n).train_dataloader() for n in (0, 2))
    for epoch in (0, 1):
        plain.sampler.set_epoch(epoch)
        workers.sampler.set_epoch(epoch)
        for a, b in zip(plain, workers, strict=True):
            assert torch.equal(a.x, b.x)
            assert torch.equal(a.target, b.target)


def test_mnist_rows_are_the_pixels_and_validation_comes_from_the_training_images(tmp_path):
    pixels = write_images(tmp_path)
    data = MNIST(root=tmp_path, validation=50)
    both = torch.cat([data.samples(split).x for split in ("train", "validation")])
    assert both.shape == (200, 28, 28)
    expected = torch.from_numpy(pixels).to(torch.float32) / 255
    assert torch.equal(both.flatten(1).sort(0).values, expected.flatten(1).sort(0).values)
    assert len(data.samples("test").x) == 30
    assert len(MNIST(root=tmp_path, validation=50, limit=20).samples("train").x) == 20
    other = MNIST(root=tmp_path, validation=50, split_seed=1).samples("validation").x
    assert not torch.equal(other, data.samples("validation").x)
    assert torch.equal(
        MNIST(root=tmp_path, validation=50, seed=7).samples("validation").x, data.samples("validation").x
    )


def test_all_of_mnist_has_its_known_sizes(data_root):
    data = MNIST(root=data_root)
    assert [len(data.samples(split).x) for split in ("train", "validation", "test")] == [55_000, 5_000, 10_000]
    assert torch.bincount(data.samples("test").target).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip


def test_missing_mnist_names_the_folder_to_fill(tmp_path, monkeypatch):
    monkeypatch.setenv("NFSIM_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"MNIST/raw lacks train-images-idx3-ubyte.*data.download=true"):
        MNIST().setup("fit")


def test_damaged_mnist_is_refused(tmp_path):
    write_images(tmp_path)
    file = tmp_path / "MNIST" / "raw" / FILES[0]
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match="damaged"):
        MNIST(root=tmp_path, validation=50).setup("fit")


def test_foreign_images_in_the_place_of_mnist_are_refused(tmp_path):
    write_images(tmp_path, size=8)
    with pytest.raises(ValueError, match=r"images of shape \(200, 8, 8\)"):
        MNIST(root=tmp_path, validation=50).setup("fit")


def test_data_root_prefers_the_argument_then_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("NFSIM_DATA", "/env")
    assert str(data_root(tmp_path)) == str(tmp_path)
    assert str(data_root()) == "/env"
    monkeypatch.delenv("NFSIM_DATA")
    assert data_root().parts[-2:] == (".cache", "nfsim")


def test_arrays_take_frames_and_lengths():
    part = np.zeros((4, 3)), [0, 1, 2, 1]
    data = Arrays(train=part, validation=part, dt=0.5)
    assert (data.steps, data.features, data.labels, data.dt) == (1, 3, ("0", "1", "2"), 0.5)
    part = np.zeros((4, 5, 3)), [0, 1, 0, 1], [5, 4, 1, 2]
    batch = next(iter(Arrays(train=part, validation=part).loader("validation")))
    assert batch.lengths.tolist() == [5, 4, 1, 2]
    assert batch.x.dtype == torch.float32
    assert batch.target.dtype == torch.int64


@pytest.mark.parametrize(
    ("train", "options", "message"),
    [
        ((np.zeros((0, 2, 3)), np.zeros(0, int)), {}, "not empty"),
        ((np.zeros(4), [0, 1, 0, 1]), {}, "give \\(sample, time, feature\\)"),
        ((np.zeros((4, 2, 3)), [0.0, 1.0, 0.0, 1.0]), {}, "whole, from 0"),
        ((np.zeros((4, 2, 3)), [0, -1, 0, 1]), {}, "whole, from 0"),
        ((np.zeros((4, 2, 3)), [0, 1, 0, 2]), {"labels": ["a", "b"]}, "target 2 has no name among 2 labels"),
        ((np.zeros((4, 2, 3)), [0, 1, 0, 1], [3, 1, 1, 1]), {}, r"lengths must lie in \[1, 2\]"),
        ((np.zeros((4, 2, 5)), [0, 1, 0, 1]), {}, "give all splits the same"),
        ((np.zeros((4, 2, 3)),), {}, r"give \(x, target\)"),
        ((np.zeros((4, 2, 3)), [0, 1, 0, 1]), {"shift": 1}, "leave all of them 0"),
        ((np.zeros((4, 2, 3)), [0, 1, 0, 1]), {"batch": 0}, "batch 0 is not a whole number >= 1"),
        ((np.zeros((4, 2, 3)), [0, 1, 0, 1]), {"workers": -1}, "workers -1"),
    ],
)
def test_arrays_that_make_no_dataset_are_refused(train, options, message):
    with pytest.raises(ValueError, match=message):
        Arrays(train=train, validation=(np.zeros((4, 2, 3)), [0, 1, 0, 1]), **options)


def test_what_does_not_fit_is_found_when_a_split_is_read():
    good = np.zeros((4, 2, 3)), [0, 1, 0, 1]
    for bad, message in (
        ((np.full((4, 2, 3), np.nan), [0, 1, 0, 1]), "NaN or infinite"),
        ((np.zeros((4, 2, 3)), [0, 1, 0]), r"parts of \[4, 3\] samples"),
    ):
        with pytest.raises(ValueError, match=message):
            Arrays(train=bad, validation=good).setup("fit")
    with pytest.raises(ValueError, match="no test split was given"):
        Arrays(train=good, validation=good).test_dataloader()
    with pytest.raises(ValueError, match="no split 'valid'; choose one of train, validation, test"):
        Digits().samples("valid")


@pytest.mark.parametrize(("option", "value"), [("validation", 0), ("validation", 60_000), ("limit", 56_000)])
def test_impossible_parts_of_mnist_are_refused(option, value):
    with pytest.raises(ValueError, match=f"{option} {value} is not in"):
        MNIST(**{option: value})
