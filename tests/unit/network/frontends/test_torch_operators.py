"""Every ATen operator that the PyTorch frontend reads, in the spellings of real networks."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from traced_modules import Lambda, check

from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.network.frontends.torch import trace
from shufflenet_deploy.network.graph import (
    Activation,
    AdaptiveAveragePool,
    Add,
    Arithmetic,
    Clip,
    Concat,
    Conv,
    ConvTranspose,
    Dense,
    DepthToSpace,
    Elementwise,
    Elu,
    Flatten,
    LeakyRelu,
    LocalResponseNorm,
    MatMul,
    Multiply,
    Normalize,
    Pad,
    PadMode,
    Permute,
    Pool,
    Reduce,
    Reshape,
    Resize,
    Shuffle,
    Slice,
    Softmax,
    SpaceToDepth,
)
from shufflenet_deploy.records import Resolution

torch.set_num_threads(1)


def _write_to_another_order(x):
    y = x * 2
    y.flatten(2).transpose(1, 2)[:, :2].relu_()
    return y


def _with_coordinates(x):
    """Channels of numbers before and behind a map."""
    down, across = torch.linspace(-1, 1, x.shape[2]), torch.linspace(-1, 1, x.shape[3])
    grid = torch.stack(torch.meshgrid(down, across, indexing="ij")).expand(len(x), -1, -1, -1)
    return torch.cat([grid[:, :1], x, grid], 1)


def _with_a_class_token(x):
    """Two tokens before those of an image, which are stacked beside a third."""
    tokens = x.flatten(2).transpose(1, 2)
    tokens = torch.cat([torch.arange(16.0).reshape(1, 2, 8).expand(len(x), -1, -1), tokens], 1)
    return torch.stack([tokens[:, 0], torch.ones(len(x), 8), tokens[:, 3]], 1)


def _unpooled_with_overlap(x):
    pooled, places = functional.max_pool2d(x, 3, 2, 1, return_indices=True)
    return functional.max_unpool2d(pooled, places, 2)


def _repeated_before(x):
    return x.mean((2, 3)).expand(1, 3, len(x), 8).transpose(0, 2).flatten(1)


def of(function, **modules):
    return Lambda(lambda self, x: function(self, x) if modules else function(x), **modules)


@pytest.mark.parametrize(
    ("module", "kinds"),
    [
        (nn.Conv2d(8, 6, 3, 2, 2, dilation=2, groups=2), [Conv]),
        (nn.Conv2d(8, 6, 3, padding="same", dilation=(1, 3)), [Conv]),
        (nn.Conv2d(8, 6, 3, padding=1, padding_mode="reflect"), [Pad, Conv]),
        (nn.Conv2d(8, 6, 3, padding=2, padding_mode="replicate"), [Pad, Conv]),
        (nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(8, 4, 3, 2)), [Conv]),
        (nn.Sequential(nn.ConstantPad2d(1, 0.5), nn.Conv2d(8, 4, 3, 2)), [Pad, Conv]),
        (nn.Sequential(nn.ZeroPad2d(1), nn.AvgPool2d(3, 2)), [Pool]),
        (nn.Sequential(nn.ConstantPad2d((0, 1, 0, 1), -torch.inf), nn.MaxPool2d(3, 2)), [Pool]),
        (nn.ConvTranspose2d(8, 6, 3, 2, 1, output_padding=1, groups=2), [ConvTranspose]),
        (
            nn.Sequential(nn.ConvTranspose2d(8, 6, 2, 2, groups=2), nn.BatchNorm2d(6)),
            [ConvTranspose],
        ),
        (nn.Sequential(nn.Conv2d(8, 6, 1), nn.BatchNorm2d(6), nn.BatchNorm2d(6)), [Conv]),
        (nn.AdaptiveMaxPool2d(1), [Reduce]),
        (nn.AdaptiveMaxPool2d((3, 4)), [Pool]),
        (nn.PixelShuffle(2), [DepthToSpace]),
        (nn.PixelUnshuffle(3), [SpaceToDepth]),
        (nn.ReflectionPad2d((1, 2, 3, 0)), [Pad]),
        (nn.ReplicationPad2d((1, 2, 3, 0)), [Pad]),
        (nn.Upsample(scale_factor=2), [Resize]),
        (nn.Upsample(scale_factor=2, mode="bicubic"), [Permute, Conv, Permute, Conv, Permute]),
        (
            nn.Upsample((5, 17), mode="bicubic", align_corners=True),
            [Permute, Conv, Permute, Conv, Permute],
        ),
        (nn.Upsample((4, 31), mode="bicubic"), [Permute, Conv, Permute, Conv, Permute]),
        (nn.Upsample((7, 20), mode="nearest-exact"), [Resize]),
        (nn.Upsample(scale_factor=(2, 1.5), mode="bilinear"), [Resize]),
        (nn.Upsample((5, 5), mode="bilinear", align_corners=True), [Resize]),
        (nn.LocalResponseNorm(3), [LocalResponseNorm]),
    ],
)
def test_windows_and_sizes(module, kinds):
    check(module, channels=8 if not isinstance(module, nn.PixelUnshuffle) else 2, kinds=kinds)


def last_norm(x, scale=None):
    """A layer norm of channels that are last, between permutations."""
    return functional.layer_norm(x.permute(0, 2, 3, 1), (8,), scale).permute(0, 3, 1, 2)


def written_norm(x, root=torch.sqrt, axes=(1,)):
    centred = x - x.mean(axes, keepdim=True)
    variance = centred.pow(2).mean(axes, keepdim=True)
    if root is torch.rsqrt:
        return SCALES * (centred * torch.rsqrt(variance + 1e-3)) + 0.5
    return SCALES * (centred / root(variance + 1e-3)) - 0.5


def response(x):
    """The global response norm of ConvNeXt v2, channels last."""
    x = x.permute(0, 2, 3, 1)
    size = torch.norm(x, p=2, dim=(1, 2), keepdim=True)
    share = size / (size.mean(-1, keepdim=True) + 1e-6)
    return torch.addcmul(x, SCALES.view(1, 1, 1, 8), x * share).permute(0, 3, 1, 2)


def mlp(x):
    """A ConvNeXt block's second half: products of matrices along channels that are last."""
    hidden = functional.gelu(functional.linear(last_norm(x).permute(0, 2, 3, 1), MATRIX))
    return x + (functional.linear(hidden, MATRIX.T) * SCALES.view(8)).permute(0, 3, 1, 2)


def attention(x, heads=2, mask=None):
    q, k, v = x.reshape(1, heads, 8 // heads, -1).transpose(2, 3).chunk(3, 2)
    made = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return made.transpose(2, 3).reshape(1, 8, 3, 12)


SCALES = torch.arange(1.0, 9).view(8, 1, 1)
MATRIX = torch.randn(12, 8, generator=torch.manual_seed(3))


@pytest.mark.parametrize(
    ("module", "kinds"),
    [
        (of(last_norm), [Normalize]),
        (of(lambda x: last_norm(x, SCALES.view(8)) * 2 + SCALES), [Normalize]),
        (of(written_norm), [Normalize]),
        (of(lambda x: written_norm(x, torch.rsqrt, (2, 3))), [Normalize]),
        (of(lambda x: written_norm(x, lambda v: v**0.5, (1, 2, 3))), [Normalize]),
        (nn.LayerNorm([8, 9, 12]), [Normalize]),
        (nn.GroupNorm(1, 8), [Normalize]),
        (nn.GroupNorm(4, 8), [Normalize]),
        (nn.GroupNorm(8, 8, affine=False), [Normalize]),
        (nn.InstanceNorm2d(8, affine=True), [Normalize]),
        (nn.InstanceNorm2d(8, affine=True, track_running_stats=True), [Conv]),
        (nn.Sequential(nn.Flatten(), nn.LayerNorm(864)), [Flatten, Normalize]),
        (of(mlp), [Normalize, Conv, Elementwise, Conv, Add]),
        (of(response), None),
        (of(lambda x: (x.abs() + 0.1) ** 1.5), None),
        (of(lambda x: (x.square() + 0.1).rsqrt() - x.norm(p=1, dim=1, keepdim=True)), None),
        (of(lambda x: x.var((2, 3), keepdim=True) + torch.var_mean(x, 1)[1].unsqueeze(1)), None),
        (of(lambda x: x.std(1, unbiased=False)), None),
    ],
)
def test_norms_and_powers(module, kinds):
    graph = check(module, channels=8, kinds=kinds)
    assert not any(isinstance(layer, Permute) for layer in graph.layers)


@pytest.mark.parametrize(
    ("function", "products"),
    [
        (attention, 2),
        (lambda x: attention(x, mask=torch.ones(36, 36).tril()), 2),
        (lambda x: x @ x.transpose(2, 3), 1),
        (lambda x: torch.bmm(x.flatten(2), x.flatten(2).transpose(1, 2)).softmax(-1), 1),
    ],
)
def test_products_of_computed_matrices(function, products):
    graph = check(of(function), channels=8, batch=1)
    assert sum(isinstance(layer, MatMul) for layer in graph.layers) == products


def test_a_batch_norm_without_statistics_is_an_instance_norm_of_one_image():
    module = of(lambda x: functional.batch_norm(x, None, None, training=True))
    check(module, kinds=[Normalize], batch=1)


def test_standardised_weights_are_constants():
    class Standardised(nn.Conv2d):
        def forward(self, x):
            flat = self.weight.reshape(1, self.out_channels, -1)
            weight = functional.batch_norm(flat, None, None, training=True)
            return self._conv_forward(x, weight.reshape_as(self.weight), self.bias)

    check(Standardised(8, 6, 3), channels=8, kinds=[Conv])


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        (nn.ReLU6(), Activation.RELU6),
        (nn.Sigmoid(), Activation.SIGMOID),
        (nn.Tanh(), Activation.TANH),
        (nn.Hardsigmoid(inplace=True), Activation.HARD_SIGMOID),
        (nn.Hardswish(inplace=True), Activation.HARD_SWISH),
        (nn.SiLU(inplace=True), Activation.SILU),
        (nn.Mish(), Activation.MISH),
        (nn.GELU(), Activation.GELU),
        (nn.GELU("tanh"), Activation.GELU_TANH),
        (of(lambda x: x * torch.sigmoid(x)), Activation.SILU),
        (of(lambda x: x.sigmoid().mul_(x)), Activation.SILU),
        (of(lambda x: x * functional.relu6(x + 3) / 6), Activation.HARD_SWISH),
        (of(lambda x: x * (functional.relu6(x + 3.0) * (1 / 6))), Activation.HARD_SWISH),
        (of(lambda x: x * functional.hardsigmoid(x)), Activation.HARD_SWISH),
        (of(lambda x: functional.relu6(x + 3, inplace=True) / 6), Activation.HARD_SIGMOID),
        (of(lambda x: (x + 3).clamp(0, 6).div(6.0)), Activation.HARD_SIGMOID),
        (of(lambda x: x * torch.tanh(functional.softplus(x))), Activation.MISH),
        (of(lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5))), Activation.GELU),
        (nn.Hardtanh(0, 6), Activation.RELU6),
        (of(lambda x: x.clamp(min=0)), Activation.RELU),
    ],
)
def test_activations(module, kind):
    graph = check(nn.Sequential(nn.MaxPool2d(1), module))
    last = graph.layers[-1]
    assert (getattr(last, "activation", None), len(graph.layers)) == (
        kind,
        1 if kind in {Activation.RELU, Activation.RELU6} else 2,
    )


@pytest.mark.parametrize(
    ("module", "kinds"),
    [
        (nn.LeakyReLU(0.2), [LeakyRelu]),
        (nn.PReLU(8), [LeakyRelu]),
        (nn.PReLU(), [LeakyRelu]),
        (nn.ELU(0.7, inplace=True), [Elu]),
        (nn.SELU(), [Elu, Conv]),
        (nn.CELU(0.5), [Conv, Elu, Conv]),
        (nn.Hardtanh(-2, 1), [Clip]),
        (nn.Softmax(1), [Softmax]),
        (nn.LogSoftmax(-3), [Softmax]),
        (nn.Softmax2d(), [Softmax]),
        (of(lambda x: x.square() - 2 * x), None),
        (of(lambda x: 1 - x), [Conv]),
        (of(lambda x: x.add(x, alpha=0.5)), [Conv, Add]),
        (of(lambda x: torch.rsub(x, x.max(1, keepdim=True)[0])), [Reduce, Arithmetic]),
        (of(lambda x: (x - torch.full((8, 1, 1), 0.5)) / torch.arange(1, 9).view(8, 1, 1)), [Conv]),
        (of(lambda x: x + torch.randn(1, 8, 9, 12, generator=torch.manual_seed(1))), [Arithmetic]),
        (of(lambda x: 2 / (x.relu() + 1)), None),
        (of(lambda x: torch.maximum(x, -x)), [Conv, Arithmetic]),
        (of(lambda x: torch.minimum(x, x.mean((2, 3), keepdim=True))), None),
        (of(lambda x: x * x.mean((1,), keepdim=True)), [Reduce, Arithmetic]),
        (of(lambda x: x.sum(dim=(1, 3))), [Reduce]),
        (of(lambda x: x.amax((2, 3))), [Reduce]),
        (of(lambda x: x.mean(-1).mean(-1)), None),
        (of(lambda x: x.mean((2, 3))), [AdaptiveAveragePool, Flatten]),
        (of(lambda x: x.mean((2, 3), keepdim=True)), [AdaptiveAveragePool]),
    ],
)
def test_values(module, kinds):
    check(module, channels=8, kinds=kinds)


@pytest.mark.parametrize(
    ("function", "kinds"),
    [
        (lambda x: x[:, :3], [Slice]),
        (lambda x: x[:, 2:][:, 1:5], [Slice]),
        (lambda x: x[:, ::2, 1:, -3:], [Slice, Slice, Slice]),
        (lambda x: x.narrow(1, 2, 3), [Slice]),
        (lambda x: torch.cat(x.chunk(2, 1)[::-1], 1), [Slice, Slice, Concat]),
        (lambda x: torch.cat(x.split(3, 1), 1).relu(), [Elementwise]),
        (lambda x: torch.cat([x, x], 2), [Concat]),
        (lambda x: torch.stack([x, x.relu()], 2), None),
        (lambda x: sum(x.unbind(1)[:3]), None),
        (lambda x: x[:, 3], [Slice, Reshape]),
        (lambda x: x.select(2, -1), [Slice, Reshape]),
        (lambda x: x[:, [1, 0, 3, 2, 5, 4, 7, 6]], None),
        (lambda x: x[:, torch.arange(8).view(2, 4).t().flatten()], [Shuffle]),
        (lambda x: x.index_select(1, torch.arange(8).view(4, 2).t().flatten()), [Shuffle]),
        (lambda x: x.roll(1, 1), [Slice, Slice, Concat]),
        (lambda x: x.repeat(1, 2, 1, 1), [Concat]),
        (lambda x: x.permute(0, 2, 3, 1), [Permute]),
        (lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2).relu(), [Elementwise]),
        (lambda x: x.transpose(1, 3).reshape(x.shape[0], -1), [Permute, Flatten]),
        (lambda x: x.unsqueeze(2).squeeze(2).relu(), [Elementwise]),
        (lambda x: x.flatten(2).transpose(1, 2), [Reshape, Permute]),
        (
            lambda x: x.mean((2, 3), keepdim=True).expand_as(x) + x,
            [AdaptiveAveragePool, Arithmetic],
        ),
        (
            lambda x: x.mean((2, 3), keepdim=True).expand(-1, -1, 4, 5),
            [AdaptiveAveragePool, Resize],
        ),
        (lambda x: functional.pad(x, (0, 0, 0, 0, 1, 2)), [Reshape, Pad, Reshape]),
        (lambda x: functional.pad(x, (-1, 2, 1, -2)), [Slice, Slice, Pad]),
        (lambda x: torch.cat([x, torch.zeros(1, 2, 9, 12)], 1) * 2, None),
        (lambda x: torch.cat([x, torch.zeros_like(x)], 1), [Reshape, Pad, Reshape]),
        (lambda x: x.float().detach().clone().relu(), [Elementwise]),
        (lambda x: x.relu_(), [Elementwise]),
    ],
)
def test_moves(function, kinds):
    check(of(function), channels=8, kinds=kinds, batch=1)


@pytest.mark.parametrize(
    "shuffle",
    [
        nn.ChannelShuffle(4),
        of(lambda x: functional.channel_shuffle(x, 4)),
        of(lambda x: x.view(1, 4, 2, 9, 12).transpose(1, 2).contiguous().view(1, 8, 9, 12)),
        of(lambda x: x.reshape(1, 4, 2, 9 * 12).permute(0, 2, 1, 3).reshape(x.shape)),
        of(lambda x: x.view(4, 2, 9 * 12).permute(1, 0, 2).reshape(1, 8, 9, 12)),
        of(lambda x: x.unflatten(1, (4, 2)).swapaxes(1, 2).flatten(1, 2)),
        of(lambda x: torch.stack(x.chunk(4, 1), 2).flatten(1, 2)),
        of(lambda x: x[:, [0, 2, 4, 6, 1, 3, 5, 7]]),
    ],
)
def test_channel_shuffles(shuffle):
    graph = check(shuffle, channels=8, batch=1)
    if not any(isinstance(layer, Concat) for layer in graph.layers):
        assert [type(layer) for layer in graph.layers] == [Shuffle]
        assert graph.layers[0].groups == 4


@pytest.mark.parametrize(
    ("module", "kinds"),
    [
        (of(lambda s, x: s.fc(x.flatten(1)), fc=nn.Linear(864, 5, bias=False)), [Flatten, Dense]),
        (of(lambda s, x: s.fc(x), fc=nn.Linear(12, 5)), None),
        (
            of(lambda s, x: s.fc(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), fc=nn.Linear(8, 5)),
            None,
        ),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(864, 5), nn.BatchNorm1d(5), nn.ReLU()),
            [Flatten, Dense],
        ),
        (
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(8)),
            [AdaptiveAveragePool, Flatten, Arithmetic, Arithmetic],
        ),
        (
            of(
                lambda s, x: s.c(x.mean((2, 3)).unsqueeze(1)).squeeze(1), c=nn.Conv1d(1, 1, 3, 1, 1)
            ),
            None,
        ),
    ],
)
def test_dense_and_vectors(module, kinds):
    check(module, channels=8, kinds=kinds, batch=1)


def test_a_convolution_over_neighbouring_channels():
    conv = nn.Conv3d(1, 2, (4, 1, 1), (2, 1, 1), (1, 0, 0))
    check(Lambda(lambda self, x: self.conv(x.unsqueeze(1)).flatten(1, 2), conv=conv), channels=8)


@pytest.mark.parametrize(("block", "after"), [(2, 0.5), (3, -1.0)])
def test_values_return_to_the_places_of_maxima(block, after):
    """Of equal maxima, such as the zeros behind a ReLU, the first is taken."""

    def unpooled(x):
        pooled, places = functional.max_pool2d(x.relu(), block, return_indices=True)
        return functional.max_unpool2d(pooled + after, places, block)

    check(of(unpooled), channels=8, size=(6, 12))


@pytest.mark.parametrize("function", [_with_coordinates, _with_a_class_token, _repeated_before])
def test_constants_are_joined_to_values(function):
    check(of(function), channels=8)


def test_any_order_of_many_channels():
    order = torch.randperm(150, generator=torch.manual_seed(0))[:140]
    check(of(lambda x: x[:, order]), channels=150, size=(2, 3), kinds=[Conv])
    check(of(lambda x: x.flatten(1)[:, order]), channels=150, size=(1, 1), kinds=[Flatten, Dense])


def test_efficient_channel_attention():
    def gate(self, x):
        y = x.mean((2, 3), keepdim=True)
        y = self.conv(y.squeeze(-1).transpose(-1, -2)).transpose(-1, -2).unsqueeze(-1)
        return x * torch.sigmoid(y).expand_as(x)

    graph = check(Lambda(gate, conv=nn.Conv1d(1, 1, 3, padding=1, bias=False)), channels=8)
    assert isinstance(graph.layers[-1], Multiply)


def test_several_outputs_come_in_order():
    def heads(self, x):
        y = self.conv(x)
        return {"boxes": [y.relu(), x.mean((2, 3))], "scores": (y.sigmoid(), None)}

    module = Lambda(heads, conv=nn.Conv2d(3, 4, 1)).eval()
    graph = trace(module, Resolution(height=5, width=6), "net")
    assert [graph.shapes[name] for name in graph.outputs] == [(4, 5, 6), (3,), (4, 5, 6)]


def test_weights_that_are_computed_become_constants():
    class Standardized(nn.Conv2d):
        def forward(self, x):
            weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            return functional.conv2d(x, weight / weight.std(), self.bias, padding=1)

    graph = check(nn.Sequential(Standardized(3, 5, 3)), kinds=[Conv])
    assert graph.layers[0].name == "0"


def test_writes_in_place_are_seen_through_every_view():
    def through_a_view(x):
        y = x * 2
        y.detach().relu_()
        return y + 1

    def beside_a_copy(x):
        y = x.clone()
        y.add_(1)
        return torch.cat([y, x], 1)

    check(of(through_a_view))
    check(of(beside_a_copy))


def _logic(x):
    rows = torch.arange(9.0).reshape(9, 1)
    inside = (x > -0.5) & ~(x >= 0.5) | (x[:, :1] < rows - 5)
    return torch.where(inside, x * 2, torch.full_like(x, 3)) + (x <= 0.1).float().sum(
        1, keepdim=True
    )


def _local_maxima(x):
    """The peaks of a heat map, as detectors of centres keep them."""
    return x * (functional.max_pool2d(x, 3, 1, 1) == x) + 0.1 * (x != x[:, :1])


def _filled(x):
    left_out = torch.arange(12) > 7
    return x.masked_fill(x > 1, 1.5).masked_fill(left_out, -9)


@pytest.mark.parametrize("function", [_logic, _local_maxima, _filled])
def test_comparisons(function):
    check(of(function), channels=4)


def _several_writes(x):
    y = x * 1.5
    y[:, ::2, 2:5, 3:] = x[:, 1::2, :3, :-3]
    y[:, 1] += 1
    y[:, 0, :, 2] = 0
    y[:, 2, 1:-1] = 7
    seen = y[:, 0:2]
    y.mul_(2)
    return seen + y[:, 1:3]


def _read_between_writes(x):
    y = x.clone()
    first = y[:, 1]
    y[:, 1] = x[:, 0]
    y[:, 0] = first * 3
    return torch.cat([y, first[:, None]], 1)


def _shifted_in_time(x):
    """A temporal shift, which begins with zeros."""
    y = torch.zeros_like(x)
    y[:, :1, 1:] = x[:, :1, :-1]
    y[:, 1:2, :-1] = x[:, 1:2, 1:]
    y[:, 2:] = x[:, 2:]
    return y


def _views_of_constants(x):
    y = torch.ones(len(x), 3, *x.shape[1:])
    first, second = y[:, 0], y[:, 1]
    first.copy_(x * 2)
    y[:, 2].add_(1)
    second.copy_(first + 1)
    y[:, :2] *= 2
    second.add_(y[:, 0])
    return y


@pytest.mark.parametrize(
    "function", [_several_writes, _read_between_writes, _shifted_in_time, _views_of_constants]
)
def test_writes_to_parts(function):
    check(of(function), channels=4)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_write_to_another_order, "another view was written to"),
        (functional.softplus, "Softplus outside of GELU and Mish"),
        (lambda x: functional.layer_norm(x, x.shape[1:], x[0]), "scales by computed numbers"),
        (lambda x: x.norm(p=3, dim=1), "a norm of the order 3"),
        (lambda x: functional.interpolate(x, scale_factor=1.3), "no whole number of pixels"),
        (lambda x: functional.dropout(x, training=True), "draws random numbers"),
        (lambda x: x.double(), "computes in float64"),
        (lambda x: x.mean(0), "works along the batch"),
        (lambda x: functional.conv2d(x, x[:, :, :3, :3]), "computed weights"),
        (lambda x: x.max(1)[1], "places of maxima"),
        (_unpooled_with_overlap, "unpools windows that overlap"),
        (lambda x: functional.max_pool2d(x, 2, dilation=2), "dilated max pool"),
        (lambda _: torch.ones(1, 3), "does not depend on its input"),
        (lambda x: x.undefined_method(), "forward() fails: 'Recorded' object has no attribute"),
        (lambda x: x.mean(1).numpy(), "depends on the values of its input"),
        (lambda x: x * ((x > 1) + (x < 0)), "adds truth values"),
        (lambda x: x.masked_fill(x > 0, -torch.inf), "infinite numbers"),
        (lambda x: x[x > 0], "depends on the values of its input"),
        (lambda x: x.relu().nonzero(), "depends on the values of its input"),
    ],
)
def test_what_no_graph_can_say_is_named(function, message):
    with pytest.raises(ExportError) as caught:
        trace(of(function).eval(), Resolution(height=9, width=12), "net")
    assert message.replace("\\", "") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_nobody_reads_is_no_error():
    graph = check(of(lambda x: (functional.softplus(x), x.relu())[1]), kinds=[Elementwise])
    assert len(graph.layers) == 1


def test_two_inputs_are_refused():
    class Two(nn.Module):
        def forward(self, x, y):
            return x + y

    with pytest.raises(ExportError, match="takes more than one input"):
        trace(Two().eval(), Resolution(height=9, width=12), "net")


def test_a_pad_mode_that_the_graph_has():
    graph = check(nn.ReflectionPad2d(2))
    assert graph.layers[0].mode is PadMode.REFLECT
