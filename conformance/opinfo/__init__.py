"""PyTorch's own samples (OpInfo) as a judge: the ops, tinyml's names for them, the verdict."""
