"""Modules out of functions, and the comparison of a module with the graph that is read of it."""

import torch
from torch import nn

from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.frontends.torch import trace
from shufflenet_deploy.records import Resolution


class Lambda(nn.Module):
    """A module out of a function, with submodules as attributes."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        return self.function(self, x)


def lively(module, seed=0):
    """Give batch normalisation statistics and biases that matter."""
    torch.manual_seed(seed)
    for part in module.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.normal_(part.running_mean)
            nn.init.uniform_(part.running_var, 0.5, 2)
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    return module.eval()


def check(module, *, channels=3, size=(9, 12), kinds=None, batch=2):
    """The graph of a module, after comparing what both compute for a batch of images."""
    module = lively(nn.Sequential(module) if not list(module.children()) else module)
    graph = trace(module, Resolution(height=size[0], width=size[1]), "net", channels=channels)
    image = torch.randn(batch, channels, *size)
    with torch.no_grad():
        expected = module(image.clone()).numpy()
    actual = interpreter.outputs(graph, image.numpy())
    assert actual.shape == expected.shape
    assert abs(actual - expected).max() <= 1e-5 * max(1, abs(expected).max())
    for name, value in interpreter.activations(graph, image[0].numpy()).items():
        assert value.shape == graph.shapes[name]
    assert set(graph.shapes) == {graph.input, *(layer.output for layer in graph.layers)}
    if kinds is not None:
        assert [type(layer) for layer in graph.layers] == kinds
    return graph
