"""What one writes first: FastAPI, pydantic's list[float], torch in the handler."""

from __future__ import annotations

import os

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Backward(BaseModel):
    x: list[float]
    grad_tensors: list[float]


class Gradient(BaseModel):
    y: list[float]
    gradient: list[float]


app = FastAPI()


@app.post("/backward")
def backward(request: Backward) -> Gradient:
    x = torch.tensor(request.x, dtype=torch.float64, requires_grad=True)
    v = torch.tensor(request.grad_tensors, dtype=torch.float64)
    y = torch.relu(x * x)
    (gradient,) = torch.autograd.grad(y, x, v)
    return Gradient(y=y.tolist(), gradient=gradient.tolist())


if __name__ == "__main__":
    torch.set_num_threads(1)
    uvicorn.run(app, port=int(os.environ["PORT"]), access_log=False, log_level="warning")
