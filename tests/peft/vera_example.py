"""VeRA: LoRA whose matrices are random, frozen and shared by all layers (Kopiczko et al., 2024, arXiv:2310.11454).

An example of a new method, as a file of peft/ would hold it; test_new_method.py registers it and shows that this is all
it takes. Per layer only two vectors train:

    h = W x + Λ_b B Λ_d A x        A (r, in), B (out, r) frozen;  d (r) starts at d_initial,  b (out) at zero
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peft.merging import to_plain
from peft.targets import wrap_layers
from peft.wrappers import LinearWrapper, matrix, plain_like, trained_dtype


class LinearWithVeRA(LinearWrapper):
    """x (…, in) -> W x + Λ_b B Λ_d A x (…, out). A and B are as large as the largest layer needs: each takes a part."""

    def __init__(self, linear: nn.Module, A: nn.Parameter, B: nn.Parameter, d_initial: float):
        super().__init__()
        self.linear, self.vera_A, self.vera_B = linear, A, B
        self.d = nn.Parameter(torch.full_like(A[:, 0], d_initial))
        self.b = nn.Parameter(torch.zeros_like(B[: self.out_features, 0]))

    def delta(self) -> Tensor:
        A, B = self.vera_A[:, : self.in_features], self.vera_B[: self.out_features]
        return self.b[:, None] * B @ (self.d[:, None] * A)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + F.linear(x.to(self.d.dtype), self.delta()).to(x.dtype)


@to_plain.register
@torch.no_grad()
def _(layer: LinearWithVeRA) -> nn.Module:
    return plain_like(layer.linear, matrix(layer.linear) + layer.delta())


def vera(model: nn.Module, options) -> None:
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    weight = linears[0].weight
    where = {"device": weight.device, "dtype": trained_dtype(weight)}
    A = torch.randn(options.rank, max(linear.in_features for linear in linears), **where)
    B = torch.randn(max(linear.out_features for linear in linears), options.rank, **where)
    A, B = (nn.Parameter(frozen, requires_grad=False) for frozen in (A, B))
    wrap_layers(model, lambda linear: LinearWithVeRA(linear, A, B, options.d_initial), options.target_modules)
