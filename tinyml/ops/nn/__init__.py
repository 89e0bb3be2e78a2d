"""Records of neural networks: convolution, pooling, softmax, losses, normalisation, optimizer steps."""
