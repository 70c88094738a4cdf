"""What a training writes: complete, readable as plain values, and refused where it does not fit."""

import pytest
import torch

import nfsim
from nfsim import checkpoints
from nfsim.callbacks import BEST, HISTORY, LAST
from nfsim.data import Arrays
from nfsim.files import replacing, write_text
from nfsim.runs import load
from nfsim.training import fit
from trainings import same, some_data, some_model, some_network


def test_a_file_whose_writing_fails_stays_what_it_was(tmp_path):
    path = tmp_path / "file"
    write_text(path, "before")

    def stop_half_way():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        stop_half_way()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_holds_plain_values_the_declaration_and_the_labels(tmp_path):
    network = some_network()
    result = nfsim.fit(network, some_data(), epochs=1, folder=tmp_path, config="{}", progress=False)
    for name in (LAST, BEST):
        checkpoint = torch.load(tmp_path / name, weights_only=True)
        stamp = checkpoint[checkpoints.KEY]
        assert stamp["digest"] == network.digest()
        assert nfsim.Network.from_json(stamp["declaration"]).digest() == network.digest()
        assert stamp["labels"] == ["0", "1"]
        assert stamp["config"] == "{}"
    loaded = load(tmp_path)
    assert same(result.model, loaded)
    assert not loaded.training
    assert sorted(path.name for path in tmp_path.iterdir()) == [BEST, HISTORY, LAST]


def test_an_mlp_is_loaded_from_its_checkpoint_alone(tmp_path):
    result = fit(some_model(), some_data(), epochs=1, folder=tmp_path, progress=False)
    assert same(result.model, load(tmp_path / BEST))


def test_a_mismatching_network_is_refused_and_the_difference_named(tmp_path):
    nfsim.fit(some_network(), some_data(), epochs=1, folder=tmp_path, progress=False)
    other = some_network()
    other.ticks = 2
    other.parts = tuple(nfsim.Population("a", 7) if part.name == "a" else part for part in other.parts)
    before = (tmp_path / LAST).read_bytes()
    with pytest.raises(nfsim.BuildError, match=r"parts.a.size: 6 there, 7 here; ticks: 1 there, 2 here"):
        nfsim.fit(other, some_data(), epochs=2, folder=tmp_path, resume=True, progress=False)
    with pytest.raises(nfsim.BuildError, match="a network there, a MLP here"):
        fit(some_model(), some_data(), epochs=2, folder=tmp_path, resume=True, progress=False)
    assert (tmp_path / LAST).read_bytes() == before


def test_many_differences_are_counted():
    there = {"parts": [{"name": f"p{i}", "size": i} for i in range(9)]}
    assert len(list(checkpoints.differences(there, {"parts": []}))) == 9
    assert list(checkpoints.differences(there, there)) == []


@pytest.mark.parametrize("damage", ["truncated", "text", "pickle", "foreign"])
def test_a_damaged_or_foreign_checkpoint_is_refused(tmp_path, damage):
    path = tmp_path / BEST
    fit(some_model(), some_data(), epochs=1, folder=tmp_path, progress=False)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:500])
    elif damage == "text":
        path.write_text("no checkpoint")
    elif damage == "pickle":
        torch.save({"model": Arrays}, path)
    else:
        torch.save({"state_dict": {}}, path)
    with pytest.raises(ValueError, match="not of nfsim" if damage == "foreign" else "not a readable checkpoint"):
        load(tmp_path)


def test_a_checkpoint_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such checkpoint"):
        load(tmp_path / "nothing")
