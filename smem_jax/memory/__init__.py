"""Memory layers with product keys (arXiv 1907.05242, 2412.09764) as flax.nnx modules."""
