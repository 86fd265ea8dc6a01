"""MNIST: 70,000 handwritten digits (LeCun, Cortes and Burges; CC BY-SA 3.0)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from seqjax.data.builders.idx import block_info, blocks, idx_splits

MIRRORS = ("https://storage.googleapis.com/cvdf-datasets/mnist", "https://ossci-datasets.s3.amazonaws.com/mnist")
SHA256 = {  # of the decompressed files
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
CONTENT_SHA256 = "8b2e15d7993f2269b8661b6e105bddcf2201425045f723a35313788d6909aa0e"


class Mnist(tfds.core.GeneratorBasedBuilder):
    """Official training (60,000) and test (10,000) set; x uint8 [784], label int32, 1,000 rows a record."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, raw_dir: Path | None = None, **options: Any):
        super().__init__(**options)
        self.raw_dir = raw_dir

    def _info(self) -> tfds.core.DatasetInfo:
        return block_info(self, "http://yann.lecun.com/exdb/mnist/")

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        splits = idx_splits(self.name, SHA256, MIRRORS, self.raw_dir)
        return {split: self._generate_examples(*arrays) for split, arrays in splits.items()}

    def _generate_examples(self, x, label) -> Iterator:
        return blocks(x, label)
