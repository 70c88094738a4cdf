"""What training minimises: each term, on what is valid and on nothing else."""

import math

import pytest
import torch

import nfsim
from nfsim.losses import aligned, confidence, free_energy, valid_steps
from nfsim.settings import Schedule, Select
from nfsim.training import fit
from trainings import some_data, some_network


def test_a_label_of_the_whole_sample_holds_at_each_valid_step():
    logits = torch.randn(3, 4, 2)
    flat, target = aligned(logits, torch.tensor([0, 1, 1]), lengths=torch.tensor([1, 4, 2]))
    assert target.tolist() == [0, 1, 1, 1, 1, 1, 1]
    assert torch.equal(flat, torch.cat([logits[0, :1], logits[1], logits[2, :2]]))


def test_what_lies_beyond_the_length_changes_no_loss():
    lengths = torch.tensor([1, 3])
    logits, energy = torch.randn(2, 3, 2), torch.randn(2, 6, 5)
    after = ~valid_steps(3, lengths, 2)
    other_logits, other_energy = logits.clone(), energy.clone()
    other_logits[after] = 9.0
    other_energy[after.repeat_interleave(2, 1)] = 9.0
    target = torch.tensor([[0, 1, 1], [1, 0, 1]])
    for a, b in zip(aligned(logits, target, lengths), aligned(other_logits, target, lengths), strict=True):
        assert torch.equal(a, b)
    record, other = ({"energy_accuracy": e, "energy_complexity": e} for e in (energy, other_energy))
    assert free_energy(record, lengths, 3) == free_energy(other, lengths, 3)
    assert free_energy(record, torch.tensor([3, 3]), 3) == pytest.approx(float(free_energy(record)), rel=1e-6)


def test_targets_of_each_step_need_predictions_of_each_step():
    with pytest.raises(ValueError, match='give the readout when="each"'):
        aligned(torch.zeros(2, 3), torch.zeros(2, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="give a target for every step"):
        aligned(torch.zeros(2, 5, 3), torch.zeros(2, 4, dtype=torch.long))


def test_confidence_is_the_entropy_of_the_prediction():
    assert confidence(torch.zeros(4, 10)) == pytest.approx(math.log(10))
    assert confidence(torch.eye(3) * 100) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("weight", ["energy_weight", "confidence_weight"])
def test_a_weight_on_a_term_makes_that_term_smaller(weight):
    data, results = some_data(), []
    for value in (0.0, 0.3):
        model = nfsim.compile(some_network(), device="cpu")
        fit(model, data, epochs=4, schedule=Schedule.constant, select=Select.last, progress=False, **{weight: value})
        with torch.no_grad():
            out = model(data.samples("train").x, record=("energy_accuracy", "energy_complexity"))
        results.append(float(free_energy(out.record) if weight == "energy_weight" else confidence(out.logits)))
    assert results[1] < results[0]
