"""Decoder-only transformers: the architecture, pretrained import and the memory retrofit."""
