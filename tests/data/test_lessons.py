"""Which lessons belong together."""

from smem_jax.data.lessons import Lesson, first_of_document


def test_a_lesson_without_a_document_stands_alone():
    documents = ["", "a", "", "a", "b"]
    lessons = [Lesson(str(number), (), (), of) for number, of in enumerate(documents)]
    assert first_of_document(lessons) == [0, 1, 2, 1, 4]
