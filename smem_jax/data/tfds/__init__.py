"""Data sets in the form of TensorFlow Datasets, written and read without TensorFlow.

They are ArrayRecord files with random access, so that a process reads its own share of a corpus
that no memory would hold. `prepare` writes them, `read` reads them; `builder` stands in this
folder since TensorFlow Datasets looks for a builder's description (README.md) beside it.
"""
