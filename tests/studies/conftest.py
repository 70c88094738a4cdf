"""A study that takes a second, in a folder of its own."""

from pathlib import Path

import pytest

from nfsim.studies import declaration
from nfsim.studies.running import Places, config_hash

TINY = """
title: two tiny heads on digits
source: nobody
overrides: [data=digits, model=mlp, data.batch=256]
tiers:
  quick: {seeds: 2, overrides: [trainer.epochs=2]}
variants:
  wide:
    overrides: ["model.hidden=[32]"]
    tiers: [quick]
    published: 95.5
  narrow:
    overrides: ["model.hidden=[4]"]
    tiers: {quick: [trainer.epochs=1], full: []}
comparisons:
  - [wide, narrow]
"""


@pytest.fixture
def studies(tmp_path, monkeypatch) -> Path:
    """A folder that holds the study `tiny` and no other."""
    folder = tmp_path / "studies"
    folder.mkdir()
    (folder / "tiny.yaml").write_text(TINY)
    monkeypatch.setattr(declaration, "HERE", folder)
    monkeypatch.chdir(tmp_path)
    config_hash.cache_clear()
    return folder


@pytest.fixture
def places(studies) -> Places:
    """Where the study's results and runs go."""
    return Places()
