"""scikit-learn's digits: 1,797 handwritten digits of 8 x 8 pixels, embedded in the library (UCI; CC BY 4.0)."""

from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

NUM_TEST = 360
CONTENT_SHA256 = "8a4c407dadd291e06f2b7d370917fec980107596dc3bf43871b546f7dc4f2bbd"


class Digits(tfds.core.GeneratorBasedBuilder):
    """Training (1,437) and test (360) set; x float32 [64] in [0, 1] (sixteenths), label int32.

    There is no official split. The rows are put into a pinned order, and its last 360 are the test set.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                "x": tfds.features.Tensor(shape=(64,), dtype=np.float32),
                "label": tfds.features.Tensor(shape=(), dtype=np.int32),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        from sklearn.datasets import load_digits

        x, label = load_digits(return_X_y=True)
        order = np.random.RandomState(0).permutation(len(x))  # this legacy generator is frozen for good
        x, label = (x[order] / 16).astype(np.float32), label[order].astype(np.int32)
        return {
            "train": self._generate_examples(x[:-NUM_TEST], label[:-NUM_TEST]),
            "test": self._generate_examples(x[-NUM_TEST:], label[-NUM_TEST:]),
        }

    def _generate_examples(self, x, label) -> Iterator:
        for row in range(len(x)):
            yield row, {"x": x[row], "label": label[row]}
