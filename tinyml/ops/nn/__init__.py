"""Neural-network records: convolution, pooling, softmax, losses, layer norm, optimizer steps."""
