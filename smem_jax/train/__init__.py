"""Sparse memory finetuning: background statistics, the row-sparse step, the loop around it."""
