"""MNIST, Fashion-MNIST and Kuzushiji-MNIST: one format, three sources."""

from nfsim.data.images import AbstractImages


class MNIST(AbstractImages):
    """Handwritten digits; the parameters are those of `AbstractImages`.

    Source: LeCun, Bottou, Bengio and Haffner 1998, Proc. IEEE 86:2278.
    """

    source = "MNIST"
    labels = tuple("0123456789")


class FashionMNIST(AbstractImages):
    """Pictures of clothes; the parameters are those of `AbstractImages`.

    Source: Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747.
    """

    source = "FashionMNIST"
    labels = (
        "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
    )  # fmt: skip


class KMNIST(AbstractImages):
    """Kuzushiji, cursive Japanese characters; the parameters are those of `AbstractImages`.

    Source: Clanuwat et al. 2018, arXiv:1812.01718.
    """

    source = "KMNIST"
    labels = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
