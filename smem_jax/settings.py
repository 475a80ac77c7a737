"""Every configuration field of `smem teach`, `background` and `explain`, with its default.

A configuration file sets some of them (see `configs/`), the command line may set others.
"""

from ml_collections import ConfigDict

from smem_jax.data.wordings import HELD_OUT_FRAMES, TRAINING_FRAMES


def defaults() -> ConfigDict:
    """A fresh configuration; fields that are '' here have to be set, or leave something out."""
    config = ConfigDict()
    # A .gguf file, a Hugging Face directory, or package:NAME/FILE inside an installed package.
    config.model = ""
    config.seed = 0

    memory = config.memory = ConfigDict()
    memory.block = 4  # from 0
    memory.placement = "beside"  # the feed-forward network of that block, or 'instead' of it
    memory.num_slots = 2**18  # a square number
    memory.num_heads = 4
    memory.top_k = 8  # reads per head
    memory.key_dim = 64
    memory.gate = False  # multiply what is read by a gate of the input, as 'Memory+' does
    memory.score_scale = 10.0  # of the cosine of query and sub-key, before the softmax
    memory.values_dtype = "float32"  # or bfloat16

    background = config.background = ConfigDict()
    background.file = ""  # written by `smem background`; made for this run where empty
    background.text = ""  # ordinary text, one paragraph a line
    background.questions = ""  # JSON lines with question and answers
    background.seq_len = 128  # tokens of a window, the 'document' of the document frequency
    background.packed = True  # questions fill windows, too; else each begins a document
    background.sample_tokens = 65_536  # whose reads are kept for the drift penalty

    facts = config.facts = ConfigDict()
    facts.file = ""  # JSON lines with question, answer and more
    facts.frames = TRAINING_FRAMES[:4]  # what stands around a question
    facts.statements = False  # teach a statement that ends with the answer, too
    facts.seq_len = 96  # a longer example is refused
    facts.loss_on = "answer"  # or 'all' tokens

    train = config.train = ConfigDict()
    train.steps = 80
    train.batch_size = 50  # wordings of facts
    train.top_t = 4000  # slots trained in a step; selection 'read' trains them all
    train.selection = "tf_idf"  # or tf, kl, random, read
    train.max_document_frequency = 0  # of a slot that may be selected; 0 for no limit
    train.optimizer = "adam"  # or sgd
    train.momentum = 0.0  # of sgd
    train.b1, train.b2 = 0.9, 0.99  # decay of adam's two moments
    train.weight_decay = 0.0  # of adam, on selected rows
    train.missed_steps = "lazy"  # or catch_up: what a row's moments do while it is not selected
    train.learning_rate = 0.2  # at first
    train.final_learning_rate = 0.05  # approached in a straight line
    train.drift_weight = 500.0  # of the penalty on what the memory adds to background text
    train.drift_tokens = 2048  # background tokens a step
    train.num_parts = 5  # of a batch, one after another: less memory, the same gradient
    train.num_lengths = 3  # padded lengths of a batch, each of which costs a compilation
    train.cache_prefix = True  # keep what reaches the memory layer; else run it for each batch
    train.checkpoint_every = 50  # steps
    train.max_skipped = 10  # in a row, steps whose loss or gradient is not finite, ends the run

    evaluate = config.evaluate = ConfigDict()
    evaluate.frames = HELD_OUT_FRAMES  # other ones, that nothing is taught in
    evaluate.text = ""  # likelihood of running text; left out where empty
    evaluate.questions = ""  # likelihood and F1 of answers; left out where empty
    evaluate.max_new_tokens = 12
    evaluate.every = 20  # steps, to measure recall and a part of the text; 0 for never
    return config
