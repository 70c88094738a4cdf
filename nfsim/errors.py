"""The one error of a declaration."""

from collections.abc import Iterable


class BuildError(ValueError):
    """A network that cannot be built; holds every rule that was broken, each as object, value, rule, cure.

    Parameters
    ----------
    problems : str or iterable of str
        One sentence per broken rule.
    """

    def __init__(self, problems: str | Iterable[str]):
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self):
        return type(self), (self.problems,)
