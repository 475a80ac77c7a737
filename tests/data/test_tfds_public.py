"""Records of the public data sets as documents.

They cannot be downloaded here. The records are made up, and are written with the features that
TensorFlow Datasets' own builders declare, so that what a stream gets out of them is tested on the
structure that a download has.
"""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow_datasets as tfds

from smem_jax.data.documents import open_documents
from smem_jax.data.tfds.sources import PUBLIC

_PUBLIC_RECORDS: dict[str, list[tuple[dict[str, Any], str]]] = {
    "hellaswag": [
        (
            {"context": "He sat", "endings": ["up.", "down."], "label": 1}
            | {"activity_label": "a", "split_type": "b", "source_id": "c"},
            "He sat down.",
        ),
        (
            {"context": "He ran", "endings": ["up.", "off."], "label": -1}
            | {"activity_label": "a", "split_type": "b", "source_id": "c"},
            "He ran",
        ),
    ],
    "gsm8k": [
        (
            {
                "question": "1 + 1?",
                "answer": "It is 2.\n#### 2",
                "annotation": "",
                "short_answer": "2",
            },
            "Question: 1 + 1?\nAnswer: It is 2.\n#### 2",
        )
    ],
    "c4": [
        (
            {"text": "A page.\nIts end.", "url": "u", "timestamp": "t"}
            | {"content-type": "", "content-length": ""},
            "A page.\nIts end.",
        )
    ],
    "wikipedia": [({"title": "Zürich", "text": "A town."}, "Zürich\n\nA town.")],
    "trivia_qa": [
        (
            {
                "question": "Who wrote it?",
                "question_id": "1",
                "question_source": "s",
                "entity_pages": [
                    {"doc_source": "d", "filename": "f", "title": "t", "wiki_context": "w"}
                ],
                "search_results": [],
                "answer": {
                    "aliases": ["Ann", "A."],
                    "normalized_aliases": ["ann"],
                    "matched_wiki_entity_name": "",
                    "normalized_matched_wiki_entity_name": "",
                    "normalized_value": "ann",
                    "type": "t",
                    "value": "Ann",
                },
            },
            "Question: Who wrote it?\nAnswer: Ann",
        )
    ],
}


def _natural_question(short: list[str], yes_no: int, long: tuple[int, int]) -> dict[str, Any]:
    place = {"start_token": 0, "end_token": 1, "start_byte": 0, "end_byte": 1}
    words = ["<p>", "in", "May", "</p>", "rest"]
    return {
        "id": "1",
        "document": {
            "title": "T",
            "url": "u",
            "html": "<p>",
            "tokens": [{"token": word, "is_html": word.startswith("<")} for word in words],
        },
        "question": {"text": "when", "tokens": ["when"]},
        "annotations": [
            {
                "id": "2",
                "long_answer": place | {"start_token": long[0], "end_token": long[1]},
                "short_answers": [place | {"text": text} for text in short],
                "yes_no_answer": yes_no,
            }
        ],
    }


_PUBLIC_RECORDS["natural_questions"] = [
    (_natural_question(["May", "June"], -1, (0, 4)), "Question: when\nAnswer: May, June"),
    (_natural_question([], 1, (0, 4)), "Question: when\nAnswer: yes"),
    (_natural_question([], -1, (0, 4)), "Question: when\nAnswer: in May"),
    (_natural_question([], -1, (-1, -1)), "Question: when"),
]


def _write_public(name: str, data_dir: Path) -> str:
    """Records of the features of a public data set, where its own builder would put them."""
    if PUBLIC[name].module:
        importlib.import_module(PUBLIC[name].module)
    own = tfds.builder(name, data_dir=str(data_dir))

    def info(self: Any) -> Any:
        return tfds.core.DatasetInfo(builder=self, features=own.info.features)

    def generate(self: Any) -> Iterator[tuple[int, dict[str, Any]]]:
        yield from enumerate(record for record, _ in _PUBLIC_RECORDS[name])

    def split_generators(self: Any, dl_manager: Any) -> dict[str, Any]:
        return {"train": self._generate_examples()}

    methods = {
        "VERSION": own.version,
        "name": name,
        "BUILDER_CONFIGS": list(own.builder_configs.values()),
        "pkg_dir_path": Path(__file__).parent,
        "_info": info,
        "_generate_examples": generate,
        "_split_generators": split_generators,
    }
    with tfds.core.registered.skip_registration():
        builder_class = type("Written", (tfds.core.GeneratorBasedBuilder,), methods)
    written = builder_class(
        data_dir=str(data_dir),
        file_format="array_record",
        config=own.builder_config and own.builder_config.name,
    )
    with pytest.MonkeyPatch.context() as patch:
        # To write lists within lists it asks TensorFlow for a type; to read them it does not.
        tensor_info = importlib.import_module(
            "tensorflow_datasets.core.features.feature"
        ).TensorInfo
        patch.setattr(tensor_info, "dtype", property(lambda self: self.np_dtype))
        written.download_and_prepare()
    return f"tfds:{name}:train@{data_dir}"


@pytest.mark.parametrize("name", PUBLIC)
def test_records_of_public_data_sets_become_text(name, tmp_path):
    documents = open_documents(_write_public(name, tmp_path))
    found = sorted(documents[number] for number in range(len(documents)))
    assert found == sorted(text for _, text in _PUBLIC_RECORDS[name])
