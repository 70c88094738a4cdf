"""The settings as text, read from the source of `nfsim.settings` without importing anything heavy."""

import ast
from pathlib import Path

from nfsim.conf import groups

HERE = Path(__file__).parent
ROOT = "Settings"


def manual() -> str:
    """Every group with its options, and every key with its default, meaning and unit."""
    classes = {node.name: node for node in _tree().body if isinstance(node, ast.ClassDef)}
    text = ["groups (group=option):"]
    text += [f"  {group:<12}{', '.join(options)}" for group, options in groups().items()]
    for title, key, names in (
        ("keys (key=value)", "", [ROOT]),
        ("data=digits | mnist | any other", "data", ["LoadingSettings"]),
        ("data=mnist_NAME | fashion_mnist | kmnist", "data", ["ImagesSettings"]),
        ("data=mnist_permuted", "data", ["MNISTPermutedSettings"]),
        ("data=mnist_frame | mnist_chunks", "data", ["FeaturesSettings"]),
        ("data=fashion_mnist | kmnist", "data", ["LaidOutSettings"]),
        ("network=hierarchy", "network", ["HierarchySettings"]),
        ("network=thalamocortical", "network", ["ThalamocorticalSettings"]),
        ("network=hierarchy | thalamocortical", "network", ["FormSettings"]),
        ("network=file", "network", ["FileSettings"]),
        ("network=factory", "network", ["FactorySettings"]),
        ("model=mlp", "model", ["MLPSettings"]),
        ("model=lstm | gru", "model", ["RecurrentSettings"]),
        ("model=cfc", "model", ["RecurrentSettings", "CfCSettings"]),
        ("model=cnn", "model", ["CNNSettings"]),
        ("model=ctm", "model", ["CTMSettings"]),
        ("model=ode", "model", ["ODESettings"]),
        ("trainer", "trainer", ["TrainerSettings"]),
        ("logger", "logger", ["LoggerSettings"]),
    ):
        text += ["", f"{title}:"]
        text += [line for name in names for line in _keys(classes[name], f"{key}." if key else "")]
    return "\n".join(text)


def _tree() -> ast.Module:
    return ast.parse((HERE / "settings.py").read_text(encoding="utf-8"))


def _keys(node: ast.ClassDef, prefix: str) -> list[str]:
    lines = []
    for item, after in zip(node.body, node.body[1:], strict=False):
        if isinstance(item, ast.AnnAssign) and isinstance(after, ast.Expr):
            default = _default(item.value)
            name = ast.unparse(item.target)
            if name != "name" or not prefix:  # that of an option says which it is, and is not for the user to set
                lines.append(f"  {f'{prefix}{name}={default}':<36} {ast.literal_eval(after.value)}")
    return lines


def _default(value: ast.expr | None) -> str | None:
    """Return the default as it would be typed; None for a group."""
    if isinstance(value, ast.Attribute):
        return value.attr
    if isinstance(value, ast.Constant):
        plain = {"None": "null", "True": "true", "False": "false"}
        return plain.get(str(value.value), str(value.value))
    if isinstance(value, ast.Call):
        factory = ast.unparse(value)
        return factory.partition("lambda: ")[2][:-1].replace(" ", "") or "{}"
    return "..."
