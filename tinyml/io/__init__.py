"""Files: tensors as safetensors, graphs as JSON."""
