"""Every configuration field of `smem train`, `pretrain` and `compile`, with its default.

The fields of `smem teach` stand in `smem_jax.settings`.
"""

from ml_collections import ConfigDict

from smem_jax.sharding import DEFAULT_RULES


def job_defaults() -> ConfigDict:
    """A fresh configuration; fields that are '' here have to be set, or leave something out."""
    config = ConfigDict()
    config.objective = "pretrain"  # all parameters, or 'sparse': chosen rows of a value table
    config.seed = 0
    # Work directory of a `smem train` whose newest checkpoint gives the parameters to start with.
    config.init = ""

    model = config.model = ConfigDict()
    model.vocab_size = 264  # at least that of the tokenizer
    model.num_blocks = 4
    model.embed_dim = 128
    model.num_heads = 4
    model.num_kv_heads = 4
    model.head_dim = 32
    model.ffn_dim = 512
    model.rope_base = 10_000.0
    model.tied_embeddings = True
    model.params_dtype = "float32"  # or bfloat16
    model.compute_dtype = "float32"  # or bfloat16
    model.remat = False  # keep the input of each block only, and run it again in the backward pass

    memory = config.memory = ConfigDict()
    memory.blocks = (2,)  # from 0; () for a model without memory
    memory.placement = "instead"  # of the feed-forward network of those blocks, or 'beside' it
    memory.shared_values = True  # one table for all blocks, or one each
    memory.num_slots = 2**12  # a square number
    memory.num_heads = 4
    memory.top_k = 8  # reads per head
    memory.key_dim = 32
    memory.value_dim = 128
    memory.gate = True
    memory.score_scale = 1.0
    memory.normalize_queries = False
    memory.normalize_keys = False
    memory.values_dtype = "float32"  # or bfloat16

    mesh = config.mesh = ConfigDict()
    mesh.data = -1  # -1 once: all devices that are left
    mesh.fsdp = 1
    mesh.tensor = 1
    mesh.memory = 1
    # Which mesh axes split which axes of arrays; see smem_jax/sharding.py.
    mesh.rules = ConfigDict(DEFAULT_RULES)

    data = config.data = ConfigDict()
    # 'text:FILE', 'blocks:', 'jsonl:', 'qa:', 'tfds:...'; see smem_jax/data/documents.py.
    data.source = ""
    data.held_out_source = ""  # documents whose loss pretraining measures, in the same form
    data.tokenizer = "bytes"  # or a GGUF file, a directory, package:NAME/FILE
    data.seq_len = 128
    # Into how many streams the data are cut; it has to divide train.batch_size, and stays the same
    # when a job goes on. Each process reads those whose rows its devices hold, so on a pod a
    # multiple of the most devices that may split a batch is right.
    data.num_shards = 4

    background = config.background = ConfigDict()  # of the objective 'sparse'
    background.source = ""  # ordinary text, as data.source
    background.batches = 64  # 'documents' of the document frequency, each of train.batch_size rows

    train = config.train = ConfigDict()
    train.steps = 200
    train.batch_size = 16  # sequences, of all processes together
    train.checkpoint_every = 50  # steps
    train.keep_checkpoints = 2
    train.log_every = 10  # steps
    train.max_skipped = 10  # in a row, steps whose loss or gradient is not finite, ends the job
    train.evaluate_every = 100  # steps between two losses of `data.held_out_source`

    pretrain = config.pretrain = ConfigDict()  # of the objective 'pretrain'
    pretrain.learning_rate = 1e-3  # of all but the values, after the warm-up
    pretrain.final_learning_rate = 1e-4
    pretrain.warmup_steps = 20
    pretrain.values_learning_rate = 1e-3  # constant
    pretrain.weight_decay = 0.1
    pretrain.values_weight_decay = 0.0
    pretrain.b1, pretrain.b2 = 0.9, 0.95
    pretrain.clip_norm = 1.0  # of the gradient of all but the values
    pretrain.values_clip_norm = 1.0

    sparse = config.sparse = ConfigDict()  # of the objective 'sparse'
    sparse.top_t = 500
    sparse.selection = "tf_idf"  # or tf, kl, random
    sparse.max_document_frequency = 0  # of a slot that may be selected; 0 for no limit
    sparse.optimizer = "sgd"  # or adam
    sparse.momentum = 0.0  # of sgd
    sparse.b1, sparse.b2 = 0.9, 0.99
    sparse.weight_decay = 0.0
    sparse.missed_steps = "lazy"  # or catch_up
    sparse.learning_rate = 2.0
    return config
