"""Train a small model whose middle layer runs on the service. Needs pullback and torch."""

import torch
from torch import nn

from pullback import Client

torch.manual_seed(0)
first, last = nn.Linear(1, 16), nn.Linear(16, 1)
scale = nn.Parameter(torch.ones(16))
x = torch.linspace(-3, 3, 64)[:, None]
target = torch.sin(x)

with Client() as client:
    middle = client.torch_function("y = scale * tanh(h) * sigmoid(h)", ["h", "scale"])
    optimiser = torch.optim.Adam([*first.parameters(), *last.parameters(), scale], lr=0.05)
    for step in range(101):
        loss = nn.functional.mse_loss(last(middle(first(x), scale)), target)
        if step % 50 == 0:
            print(f"step {step}: loss {loss.item():.4f}")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
