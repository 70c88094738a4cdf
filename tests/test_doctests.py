"""Every example in a docstring runs and prints what it says.

Found in the sources by name: `pytest --doctest-modules` would import the folders a second time under their own names,
and the standard collector passes over functions that a decorator wraps.
"""

import ast
import doctest
import importlib
import re

import pytest

import checkout

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def examples() -> dict[str, tuple[str, str, int]]:
    """Return every docstring with an example: qualified name -> (module, text, line)."""
    found = {}

    def visit(node, module, qualname):
        text = ast.get_docstring(node)
        if text and ">>>" in text:
            found[qualname] = (module, text, node.body[0].lineno)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                visit(child, module, f"{qualname}.{child.name}")

    for module, file in checkout.modules().items():
        visit(ast.parse(file.read_text(encoding="utf-8")), module, module)
    return found


EXAMPLES = examples()


def check(text: str, names: dict, name: str, file: str, line: int) -> None:
    test = doctest.DocTestParser().get_doctest(text, names, name, file, line)
    report = []
    result = doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=report.append)
    assert result.attempted > 0
    assert result.failed == 0, "".join(report)


@pytest.mark.parametrize("qualname", EXAMPLES)
def test_the_example_prints_what_it_says(qualname, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module, text, line = EXAMPLES[qualname]
    names = dict(vars(importlib.import_module(module)))
    check(text, names, qualname, str(checkout.modules()[module]), line)


def test_every_prompt_in_a_docstring_belongs_to_a_collected_example():
    # Class and function docstrings nest, but never inside an `if`: this catches one that does.
    for module, file in checkout.modules().items():
        collected = sum(text.count(">>>") for name, text, _ in EXAMPLES.values() if name == module)
        written = len(re.findall(r"^\s*>>> ", file.read_text(encoding="utf-8"), re.MULTILINE))
        assert written <= collected, f"{module}: an example that no test runs"
