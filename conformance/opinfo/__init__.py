"""PyTorch's own samples (OpInfo) as a judge: which ops, tinyml's names for them, the verdict."""
