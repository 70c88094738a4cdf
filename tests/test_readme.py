"""The README's code runs and prints what its comments say."""

import contextlib
import io
import re

import checkout

README = (checkout.ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readmes_code_prints_what_its_comments_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        said = re.findall(r"^print\(.*\)  # (.*)$", block, re.MULTILINE)
        assert said
        assert len(said) == len(re.findall(r"^print\(", block, re.MULTILINE))
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block, "README.md", "exec"), {})
        assert printed.getvalue().splitlines() == said


def test_the_readmes_code_is_short():
    (block,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    code = [line for line in block.splitlines() if line and not re.match(r"(import|from|print)\b", line)]
    assert len(code) <= 10


def test_the_five_files_to_read_are_named():
    section = README.partition("## Read the code")[2].partition("\n## ")[0]
    assert len(re.findall(r"^\d\. \[", section, re.MULTILINE)) == 5
