"""Records of neural networks: windows, softmax, losses, norms, steps of optimizers."""
