"""Data sets that TFDS has prepared already: found by name, read without TensorFlow, refused in plain words."""

import json
import shutil
from collections.abc import Iterator

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds

from seqjax.data.batches import batch_at
from seqjax.data.load import load
from seqjax.data.stream import streamed_batches
from seqjax.data.tfds_directory import prepared_dataset
from seqjax.errors import DataError

PICTURES = np.random.default_rng(0).integers(0, 256, (30, 4, 5, 1), dtype=np.uint8)

with tfds.core.registered.skip_registration():

    class Pictures(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.2.0")
        FEATURES = {  # noqa: RUF012
            "image": tfds.features.Tensor(shape=(4, 5, 1), dtype=np.uint8),
            "label": tfds.features.ClassLabel(num_classes=3),
            "id": tfds.features.Text(),
        }

        def _info(self) -> tfds.core.DatasetInfo:
            features = tfds.features.FeaturesDict(self.FEATURES)
            return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

        def _split_generators(self, dl_manager) -> dict[str, Iterator]:
            return {"train": self._generate_examples(0, 20), "test": self._generate_examples(20, 30)}

        def _generate_examples(self, start, stop) -> Iterator:
            for row in range(start, stop):
                record = {"image": PICTURES[row], "label": row % 3, "id": str(row)}
                yield row, {name: record.get(name, 1.0) for name in self.FEATURES}

    class Unclear(Pictures):
        FEATURES = {  # noqa: RUF012
            "a": tfds.features.Tensor(shape=(2,), dtype=np.float32),
            "b": tfds.features.Tensor(shape=(2,), dtype=np.float32),
        }

        def _generate_examples(self, start, stop) -> Iterator:
            for row in range(start, stop):
                yield row, {"a": np.zeros(2, np.float32), "b": np.zeros(2, np.float32)}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    root = tmp_path_factory.mktemp("tfds")
    for builder in (Pictures, Unclear):
        builder(data_dir=root, file_format="array_record").download_and_prepare()
    return root


@pytest.mark.parametrize("name", ["pictures", "pictures:1.2.0"])
def test_prepared_name_is_found(name, directory, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(directory))
    pictures = load(name, data_dir=tmp_path)
    assert [split.num_examples for split in pictures[1:4]] == [17, 3, 10]
    np.testing.assert_array_equal(pictures.test.fields["x"], PICTURES[20:].reshape(10, 20))
    np.testing.assert_array_equal(pictures.test.fields["label"], np.arange(20, 30) % 3)
    assert pictures.train.fields.keys() == {"x", "label"}
    assert pictures.train.fields["label"].dtype == np.int32


def test_large_one_stays_on_disk_and_streams_the_same_batches(directory):
    held = prepared_dataset("pictures", directory)
    stored = prepared_dataset("pictures", directory, stored_from=1)
    assert held.sha256 == stored.sha256
    assert not isinstance(stored.train.fields["x"], np.ndarray)
    keys = jax.random.split(jax.random.key(0), 2)
    (batch,) = streamed_batches(stored.train, keys, 4, 5, batch_size=8)
    for seed, key in enumerate(keys):
        expected = batch_at(held.train, key, 4, batch_size=8)
        np.testing.assert_array_equal(batch["x"][seed] * np.float32(1 / 255), expected["x"])
        np.testing.assert_array_equal(batch["label"][seed], expected["label"])


def test_other_version_is_unknown(directory):
    assert prepared_dataset("pictures:2.0.0", directory) is None
    assert prepared_dataset("paintings", directory) is None


def test_fields_that_cannot_be_guessed(directory):
    with pytest.raises(DataError, match=r"has the features a \(2,\), b \(2,\); expected 'x' or 'image'"):
        prepared_dataset("unclear", directory)


def test_tfrecord_needs_preparing_again(tmp_path):
    place = tmp_path / "old" / "1.0.0"
    place.mkdir(parents=True)
    (place / "features.json").write_text("{}")
    (place / "old-train.tfrecord-00000-of-00001").write_bytes(b"")
    with pytest.raises(DataError, match=r"takes TensorFlow.\n.*file_format='array_record'"):
        prepared_dataset("old", tmp_path)


def test_several_configurations_are_listed(tmp_path):
    for config in ("big", "small"):
        place = tmp_path / "sets" / config / "1.0.0"
        place.mkdir(parents=True)
        (place / "features.json").write_text(json.dumps({}))
    with pytest.raises(DataError, match="expected one of sets/big, sets/small"):
        prepared_dataset("sets", tmp_path)
    with pytest.raises(DataError, match="no array_record"):
        prepared_dataset("sets/big", tmp_path)


def test_rows_that_stay_on_disk_have_the_shape_that_is_said(directory, tmp_path):
    shutil.copytree(directory / "pictures", tmp_path / "pictures")
    path = tmp_path / "pictures" / "1.2.0" / "features.json"
    described = json.loads(path.read_text())
    # of rows of this size all stay on disk, and no other field is read
    image = described["featuresDict"]["features"]["image"]
    image["tensor"]["shape"]["dimensions"] = ["1000000000"]
    described["featuresDict"]["features"] = {"image": image}
    path.write_text(json.dumps(described))
    with pytest.raises(DataError, match=r"feature 'image' of train cannot be read .*1000000000.*Prepare"):
        prepared_dataset("pictures", tmp_path)


def test_damaged_one(directory, tmp_path):
    shutil.copytree(directory / "pictures", tmp_path / "pictures")
    place = tmp_path / "pictures" / "1.2.0"
    record = next(place.glob("*train.array_record*"))
    record.write_bytes(record.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"feature 'image' of train cannot be read .*Prepare"):
        prepared_dataset("pictures", tmp_path)
    (place / "dataset_info.json").write_text("{")
    with pytest.raises(DataError, match="is not a sound TFDS data set"):
        prepared_dataset("pictures", tmp_path)
