"""Fashion-MNIST: 70,000 pictures of clothes (Zalando Research; MIT)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from seqjax.data.builders.idx import block_info, blocks, idx_splits

MIRRORS = (
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
)
SHA256 = {  # of the decompressed files
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
CONTENT_SHA256 = "a84c6429e5cd271b8f7732854f202f54993876c518a9e5e3d96b5edc4bb38d5c"


class FashionMnist(tfds.core.GeneratorBasedBuilder):
    """Official training (60,000) and test (10,000) set; x uint8 [784], label int32, 1,000 rows a record."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, raw_dir: Path | None = None, **options: Any):
        super().__init__(**options)
        self.raw_dir = raw_dir

    def _info(self) -> tfds.core.DatasetInfo:
        return block_info(self, "https://github.com/zalandoresearch/fashion-mnist")

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        splits = idx_splits(self.name, SHA256, MIRRORS, self.raw_dir)
        return {split: self._generate_examples(*arrays) for split, arrays in splits.items()}

    def _generate_examples(self, x, label) -> Iterator:
        return blocks(x, label)
