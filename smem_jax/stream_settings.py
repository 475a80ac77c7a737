"""Every configuration field of `smem stream` and `smem sweep`, with its default."""

from ml_collections import ConfigDict

from smem_jax import settings
from smem_jax.data.wordings import TRAINING_FRAMES

_TASKS = ("known", "nq", "gsm8k", "wikitext", "mmlu", "trivia_choices", "untaught")


def stream_defaults() -> ConfigDict:
    """A fresh configuration; fields that are '' here have to be set, or leave something out."""
    common = settings.defaults()
    config = ConfigDict()
    # A .gguf file, a Hugging Face directory, package:NAME/FILE inside an installed package, or the
    # work directory of a `smem train`, whose own memory layer is then used.
    config.model = ""
    config.compute_dtype = "float32"  # of activations; bfloat16 on a GPU or TPU. Weights: float32
    config.seed = 0  # of the order of lessons, of their wordings and of the learner
    config.cache = "runs/cache"  # what runs share: statistics of background text, the base's scores
    config.memory = common.memory  # of a model without a memory layer of its own
    config.background = common.background
    config.background.packed = False

    lessons = config.lessons = ConfigDict()
    lessons.kind = "facts"  # or 'factbook'
    lessons.file = ""  # JSON lines with question and answer, or the profiles
    lessons.count = 1000
    lessons.skip_known = True  # leave out what the base answers right already
    lessons.frames = TRAINING_FRAMES[:4]  # what stands around a question
    lessons.passages = 16  # wordings of a lesson, its batch
    lessons.lengths = (32, 48)  # padded lengths, ascending; a longer lesson is left out
    lessons.probes = 2  # questions in words not trained on, for each fact
    lessons.chunk_tokens = 160  # of a document
    lessons.strategies = ()  # to augment a document by rule, by name, in turn; () for all of them
    lessons.endpoint = ""  # URL of a chat endpoint that writes the augmentations; '' for rules
    lessons.endpoint_model = ""

    learner = config.learner = ConfigDict()
    learner.method = "sparse"  # or full, lora, memory (all of the memory layer)
    learner.steps = 1  # gradient steps a lesson, among which its passages are dealt out
    learner.optimizer = "sgd"  # or adam
    learner.learning_rate = 2.0
    learner.momentum = 0.0  # of sgd
    learner.b1, learner.b2 = 0.9, 0.99  # of adam
    learner.weight_decay = 0.0
    learner.num_parts = 1  # of a batch, one after another: less memory, the same gradient
    learner.max_skipped = 10  # in a row, steps whose loss or gradient is not finite, ends the run
    learner.replay = 0  # background documents in each step
    learner.replay_weight = 1.0  # of their loss, against that of the lesson
    learner.top_t = 500  # of the method sparse, as all below but the last two
    learner.selection = "tf_idf"  # or tf, kl, random, read
    learner.select_once = False  # select from a whole lesson for all its steps; else from each
    learner.new_rows_only = False  # select no row of another fact or document
    learner.max_document_frequency = 0  # of a slot that may be selected; 0 for no limit
    # Reads that a lesson's rows need, in so many tokens, to be heard; 0 for no relevance gate.
    learner.relevance_threshold = 0
    learner.relevance_window = 32
    learner.missed_steps = "lazy"  # or catch_up
    learner.drift_weight = 0.0  # of the penalty on what the memory adds to background text
    learner.drift_tokens = 2048  # background tokens a step
    learner.drift_readers = 0  # above 0: rather so many for each selected slot, which read it
    learner.rank = 32  # of the method lora
    learner.alpha = 32.0

    evaluate = config.evaluate = ConfigDict()
    evaluate.every = 100  # lessons
    evaluate.along = ("known", "wikitext")  # measured each time, beside recall
    evaluate.known = ""  # the files of these; one that is '' is left out
    evaluate.nq = ""
    evaluate.nq_shots = ""
    evaluate.gsm8k = ""
    evaluate.wikitext = ""
    evaluate.mmlu = ""
    evaluate.trivia_choices = ""
    evaluate.untaught = ""
    # How many records of a task to take, the first ones; 0 for all.
    evaluate.limits = ConfigDict(dict.fromkeys(_TASKS, 0))
    evaluate.max_new_tokens = 12
    return config


def teaching_defaults() -> ConfigDict:
    """Those of `smem_jax.load`, for facts that come one by one, as in configs/stream_facts.py.

    `background` is left as it is: its files come from the package.
    """
    config = stream_defaults()
    config.memory.num_slots = 2**20
    config.lessons.lengths = (32, 48, 64, 96, 128)
    config.learner.update(
        {
            "optimizer": "adam",
            "learning_rate": 0.4,
            "steps": 8,
            "top_t": 300,
            "select_once": True,
            "new_rows_only": True,
            "max_document_frequency": 50,
            "relevance_threshold": 32,
        }
    )
    return config
