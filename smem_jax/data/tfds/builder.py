"""The builder of all data sets that are made from local files: one configuration for each."""

from collections.abc import Callable, Iterator
from typing import Any

from smem_jax.data.requirements import require

tfds: Any = require("tensorflow_datasets")

Record = dict[str, Any]


class SmemConfig(tfds.core.BuilderConfig):
    """A data set: `splits` gives the records of each of its splits, in the order of the source."""

    def __init__(self, splits: dict[str, Callable[[], Iterator[Record]]], **kwargs: Any):
        super().__init__(**kwargs)
        self.splits = splits


class Smem(tfds.core.GeneratorBasedBuilder):
    """Documents, and questions as documents; see README.md beside this file."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "text": text,
                    "question": text,
                    "answers": tfds.features.Sequence(text),
                    "choices": tfds.features.Sequence(text),
                }
            )
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, Record]]]:
        return {split: self._generate_examples(split) for split in self.builder_config.splits}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, Record]]:
        yield from enumerate(self.builder_config.splits[split]())
