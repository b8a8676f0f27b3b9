"""Models that people have, traced: their values and gradients through the service, against torch.autograd."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel, ViTConfig, ViTForImageClassification

import pullback
from pullback import Client, TracingError

WORDS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


@pytest.fixture
def client(service) -> Client:
    return Client("http://service", transport=service._transport)


class ResidualBlock(nn.Module):
    """As in ResNet, with a projection on the shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(4))
        self.second = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4))
        self.shortcut = nn.Sequential(nn.Conv2d(3, 4, 1, stride=2, bias=False), nn.BatchNorm2d(4))

    def forward(self, image: Tensor) -> Tensor:
        inner = torch.relu_(self.first(image))
        return torch.relu(self.second(inner) + self.shortcut(image))


class TransformerBlock(nn.Module):
    """Norm first, causal attention, a gated feed-forward."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(8), nn.LayerNorm(8)])
        self.qkv, self.mix = nn.Linear(8, 24), nn.Linear(8, 8)
        self.up, self.down = nn.Linear(8, 32), nn.Linear(16, 8)

    def forward(self, tokens: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norms[0](tokens)).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        tokens = tokens + self.mix(attended.transpose(1, 2).flatten(2))
        gate, up = self.up(self.norms[1](tokens)).chunk(2, dim=-1)
        return tokens + self.down(nn.functional.silu(gate) * up)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 5, num_layers=2, batch_first=True), nn.Linear(5, 2)

    def forward(self, steps: Tensor) -> Tensor:
        return self.head(self.lstm(steps)[0][:, -1])


def bert() -> nn.Module:
    config = BertConfig(vocab_size=12, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
    return BertModel(config)


def gpt2() -> nn.Module:
    return GPT2LMHeadModel(GPT2Config(vocab_size=12, n_positions=8, n_embd=8, n_layer=2, n_head=2, use_cache=False))


def vit() -> nn.Module:
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    return ViTForImageClassification(ViTConfig(image_size=8, patch_size=4, num_labels=3, **sizes))


MODELS: dict[str, tuple[Callable[[], nn.Module], dict[str, tuple[int, ...] | Tensor]]] = {
    "MLP": (lambda: nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 2)), {"input": (5, 3)}),
    "ResNet block": (ResidualBlock, {"image": (2, 3, 8, 8)}),
    "LSTM": (Recurrent, {"steps": (2, 6, 3)}),
    "transformer block": (TransformerBlock, {"tokens": (2, 5, 8)}),
    "BERT": (bert, {"input_ids": WORDS, "attention_mask": MASK}),
    "GPT-2": (gpt2, {"input_ids": WORDS}),
    "ViT": (vit, {"pixel_values": (2, 3, 8, 8)}),
}


def made(name: str) -> tuple[nn.Module, dict[str, Tensor]]:
    make, inputs = MODELS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = make().double().eval()
        for parameter in model.parameters():  # away from zeros and ones, which hide mistakes
            parameter.data.add_(0.1 * torch.randn_like(parameter))
        given = {k: x if isinstance(x, Tensor) else torch.randn(x, dtype=torch.float64) for k, x in inputs.items()}
    return model, given


@pytest.mark.parametrize("name", MODELS)
def test_a_traced_model_has_the_gradients_of_the_model(client, name):
    model, inputs = made(name)
    traced = pullback.trace(model, kwargs=inputs, parameters="inputs")
    assert list(inputs) == traced.inputs[: len(inputs)]
    result = model(**inputs)
    outputs = {"y": result} if isinstance(result, Tensor) else {k: v for k, v in result.items() if k in traced.outputs}
    generator = torch.Generator().manual_seed(1)
    v = {k: torch.randn(y.shape, dtype=y.dtype, generator=generator) for k, y in outputs.items()}
    expected = torch.autograd.grad(
        list(outputs.values()), list(model.parameters()), list(v.values()), allow_unused=True
    )
    answer = client.backward(traced, inputs | traced.parameters, v, wrt=list(traced.parameters))
    for k, y in outputs.items():
        torch.testing.assert_close(answer.outputs[k], y.detach(), rtol=1e-10, atol=1e-12)
    for ours, theirs in zip(answer.gradients.values(), expected, strict=True):
        torch.testing.assert_close(ours, torch.zeros_like(ours) if theirs is None else theirs, rtol=1e-8, atol=1e-10)


def test_the_parameters_of_a_model_are_constants_of_their_names():
    model, inputs = made("MLP")
    traced = pullback.trace(model, *inputs.values())
    assert traced.inputs == ["input"]
    assert list(traced.graph["constants"]) == ["v_0_weight", "v_0_bias", "v_2_weight", "v_2_bias"]
    before = traced.form["constants"]["v_0_bias"].clone()
    with torch.no_grad():
        model[0].bias.add_(1)
    assert torch.equal(traced.form["constants"]["v_0_bias"], before)


def test_tied_parameters_are_one_input():
    model, inputs = made("GPT-2")
    traced = pullback.trace(model, kwargs=inputs, parameters="inputs")
    assert "transformer_wte_weight" in traced.parameters
    assert "lm_head_weight" not in traced.parameters


@pytest.mark.parametrize("wrong", [3.0, [1.0, 2.0], None])
def test_examples_are_tensors(wrong):
    with pytest.raises(TracingError, match="not a tensor"):
        pullback.trace(torch.sin, wrong)


def test_what_is_no_tensor_among_the_results_is_named():
    config = GPT2Config(vocab_size=12, n_positions=8, n_embd=8, n_layer=1, n_head=2)
    with pytest.raises(TracingError, match="DynamicCache"):
        pullback.trace(GPT2LMHeadModel(config).eval(), kwargs={"input_ids": WORDS})
