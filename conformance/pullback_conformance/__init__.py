"""PyTorch's own operator samples, sent through the service and compared with torch.autograd."""
