#!/bin/sh
# Gradients with curl alone: v^T J of y = x^2 at (1, 2, 3).
url="${PULLBACK_BASE_URL:-http://127.0.0.1:8000}"
curl -sS --fail-with-body "$url/v1/backward" -H 'content-type: application/json' -d '{
  "graph": "y = x * x",
  "inputs": {"x": [1, 2, 3]},
  "grad_tensors": {"y": [1, 0.5, 0.25]}}'
