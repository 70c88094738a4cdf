"""Images as sequences: rows, pixels and permuted pixels are one and the same image, whatever dataset it is of."""

import pickle
import re

import pytest
import torch

from image_files import write_images
from nfsim.data import DATASETS, KMNIST, MNIST, FashionMNIST
from nfsim.data.augmentation import random_offsets, shift


def first_batch(data, split="validation", train=False):
    return next(iter(data.loader(split, train=train)))


@pytest.fixture
def root(tmp_path):
    write_images(tmp_path)
    return tmp_path


def test_pixels_are_the_rows_one_after_the_other(root):
    rows, pixels = (DATASETS[name](root=root, validation=50) for name in ("mnist_rows", "mnist_pixels"))
    assert (rows.steps, rows.features, pixels.steps, pixels.features) == (28, 28, 784, 1)
    assert torch.equal(first_batch(rows).x.reshape(50, 784, 1), first_batch(pixels).x)


def test_mnist_and_mnist_rows_are_two_names_of_one_dataset(root):
    a, b = (DATASETS[name](root=root, validation=50) for name in ("mnist", "mnist_rows"))
    assert torch.equal(first_batch(a).x, first_batch(b).x)


def test_permuted_pixels_are_the_pixels_in_one_order_that_its_seed_alone_decides(root):
    pixels = first_batch(DATASETS["mnist_pixels"](root=root, validation=50)).x[..., 0]
    permuted, again, other = (
        first_batch(DATASETS["mnist_permuted"](root=root, validation=50, seed=s, permutation_seed=p)).x[..., 0]
        for s, p in ((0, 3), (9, 3), (0, 4))
    )
    assert torch.equal(permuted, again)
    assert not torch.equal(permuted, other)
    assert torch.equal(permuted.sort(1).values, pixels.sort(1).values)
    # 50 random grey levels tell each of the 784 pixels from the others, so this finds the order
    order = (permuted.T[:, None] == pixels.T[None]).all(-1).float().argmax(1)
    assert torch.equal(order.sort().values, torch.arange(784)), "some pixel is read twice"
    assert torch.equal(pixels[:, order], permuted)


@pytest.mark.parametrize("name", ["mnist_rows", "mnist_pixels", "mnist_permuted"])
def test_shifts_move_the_image_before_it_becomes_steps(root, name):
    data = DATASETS[name](root=root, validation=50, shift=2, batch=20)
    loader = data.loader("train", train=True)
    (epoch, index), *_ = loader.sampler
    images = data.samples("train").x[index]
    expected = data.layout(shift(images, random_offsets(data.seed, epoch, index, 2)))
    assert torch.equal(next(iter(loader)).x, expected)
    assert not torch.equal(expected, data.layout(images))


def test_a_layout_can_be_sent_to_a_worker_process():
    layout = DATASETS["mnist_permuted"](permutation_seed=5).layout
    image = torch.rand(2, 28, 28)
    assert torch.equal(pickle.loads(pickle.dumps(layout))(image), layout(image))


@pytest.mark.parametrize("kind", [FashionMNIST, KMNIST])
def test_datasets_of_the_same_format_are_read_from_their_own_folder(tmp_path, kind):
    write_images(tmp_path, source=kind.source)
    data = kind(root=tmp_path, validation=50, layout="permuted")
    assert first_batch(data).x.shape == (50, 784, 1)
    assert len(set(data.labels)) == 10
    with pytest.raises(FileNotFoundError, match=re.escape(f"MNIST: {tmp_path / 'MNIST' / 'raw'} lacks")):
        MNIST(root=tmp_path).setup("fit")


@pytest.mark.parametrize("kind", [FashionMNIST, KMNIST])
def test_a_missing_dataset_names_the_folder_to_fill(tmp_path, kind):
    folder = tmp_path / kind.source / "raw"
    with pytest.raises(FileNotFoundError, match=f"{re.escape(str(folder))} lacks train-images.*data.download=true"):
        kind(root=tmp_path).setup("fit")


def test_an_unknown_layout_names_the_known_ones():
    with pytest.raises(ValueError, match="no layout 'columns'; choose one of rows, pixels, permuted"):
        MNIST(layout="columns")
