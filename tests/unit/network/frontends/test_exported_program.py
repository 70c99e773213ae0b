"""Files of torch.export: the graph of the module they were made of; nothing in them is run."""

import io
import json
import pickle
import zipfile

import pytest
import torch
from torch import nn
from torch.nn import functional

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.frontends.exported_program import image_shape, load
from shufflenet_deploy.network.frontends.torch import trace
from shufflenet_deploy.network.graph import Graph
from shufflenet_deploy.records import Resolution

torch.set_num_threads(1)

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

SIZE = Resolution(height=8, width=10)


class Swish(nn.Module):
    def forward(self, x):
        return x * x.sigmoid()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True)
        )
        self.norm = nn.LocalResponseNorm(3)
        self.act = Swish()
        self.register_buffer("offset", torch.arange(8.0).view(8, 1, 1))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        y = self.norm(self.stem(x))
        a, b = self.act(y + self.offset).chunk(2, 1)
        y = torch.cat([b, a], 1)[:, [0, 4, 1, 5, 2, 6, 3, 7]]
        y = functional.interpolate(y, scale_factor=2) * torch.tensor([2.0])
        return {"logits": self.head(y.mean((2, 3))), "map": functional.max_pool2d(y, 2)}


@pytest.fixture(scope="module")
def exported():
    torch.manual_seed(0)
    module = Net().eval()
    return module, torch.export.export(module, (torch.zeros(1, 3, 8, 10),))


@pytest.fixture
def archive(exported, tmp_path):
    """Path of a file, and a function that replaces members of it."""
    path = tmp_path / "net.pt2"
    torch.export.save(exported[1], path)

    def change(**members):
        with zipfile.ZipFile(path) as old:
            content = {name: old.read(name) for name in old.namelist()}
        for name, edit in members.items():
            (key,) = [one for one in content if one.endswith(name.replace("__", "."))]
            content[key] = edit(content[key])
        with zipfile.ZipFile(path, "w") as new:
            for name, one in content.items():
                new.writestr(name, one)
        return path

    return path, change


def shape_of(graph: Graph):
    return [(type(layer), layer.name, graph.shapes[layer.output]) for layer in graph.layers]


@pytest.mark.parametrize("decomposed", [False, True])
def test_a_file_gives_the_graph_of_its_module(exported, tmp_path, decomposed):
    module, program = exported
    path = tmp_path / "net.pt2"
    torch.export.save(program.run_decompositions() if decomposed else program, path)
    loaded = load(path)
    assert loaded.input_shape == (3, 8, 10)
    graph, wanted = trace(loaded, SIZE, "net"), trace(module, SIZE, "net")
    kinds = [one[0] for one in shape_of(wanted)]
    assert [one[0] for one in shape_of(graph)] == kinds
    image = torch.randn(1, 3, 8, 10)
    for name, expected in zip(graph.outputs, module(image).values(), strict=True):
        actual = dict(interpreter.execute(graph, image.numpy()))[name]
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
    assert graph.layers[0].name == "stem.0"
    assert image_shape(path) == (3, 8, 10)
    assert graph.outputs == wanted.outputs == ("logits", "map")
    torch.testing.assert_close(loaded(image)["logits"], module(image)["logits"])


def test_a_batch_that_may_vary(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 6 * 8, 3)).eval()
    batch = {"input": {0: torch.export.Dim("batch", min=1, max=8)}}
    program = torch.export.export(module, (torch.zeros(2, 3, 8, 10),), dynamic_shapes=batch)
    torch.export.save(program, tmp_path / "net.pt2")
    graph = trace(load(tmp_path / "net.pt2"), SIZE, "net")
    assert [layer.name for layer in graph.layers] == ["0", "1", "2"]


def in_json(edit):
    def change(content):
        described = json.loads(content)
        edit(described)
        return json.dumps(described).encode()

    return change


def first_node(described):
    return described["graph_module"]["graph"]["nodes"][0]


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def trapped(_):
    stream = io.BytesIO()
    pickle.dump(Trap(), stream)
    return stream.getvalue()


def as_pickle(described):
    next(iter(described["config"].values()))["use_pickle"] = True


def too_large(described):
    next(iter(described["config"].values()))["tensor_meta"]["sizes"][0]["as_int"] = 1 << 40


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {"model_weights_config__json": in_json(as_pickle), "weight_0": trapped},
            "as a pickle, which may run code and is not loaded",
        ),
        ({"model_weights_config__json": in_json(too_large)}, "holds more than"),
        ({"weight_0": lambda content: content[:-4]}, "damaged"),
        ({"models/model__json": lambda content: content[:-9]}, "damaged"),
        (
            {
                "models/model__json": in_json(
                    lambda one: first_node(one).update(target="torch.ops.aten.from_file.default")
                )
            },
            r"computes aten.from_file\(\) in module 'stem.0'",
        ),
        (
            {"models/model__json": in_json(lambda one: first_node(one).update(target="os.system"))},
            r"computes os.system\(\)",
        ),
        (
            {
                "models/model__json": in_json(
                    lambda one: first_node(one)["inputs"][0]["arg"].update(as_operator="x")
                )
            },
            "damaged",
        ),
    ],
)
def test_what_may_do_harm_is_refused(archive, members, message):
    path, change = archive
    change(**members)
    with pytest.raises(UsageError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_no_sample_is_unpickled(archive):
    path, change = archive
    change(**{"sample_inputs/model__pt": trapped})
    assert load(path).input_shape == (3, 8, 10)


def test_what_is_no_program(tmp_path):
    path = tmp_path / "net.pt2"
    with pytest.raises(UsageError, match="no file"):
        load(path)
    path.write_bytes(b"PK nonsense")
    with pytest.raises(UsageError, match=r"no program of torch\.export"):
        load(path)
    with zipfile.ZipFile(path, "w") as empty:
        empty.writestr("archive/data.pkl", b"")
    with pytest.raises(UsageError, match="holds 0 programs"):
        load(path)


def test_two_inputs_are_refused(tmp_path):
    class Two(nn.Module):
        def forward(self, x, y):
            return x + y

    images = (torch.zeros(1, 3, 8, 10), torch.zeros(1, 3, 8, 10))
    torch.export.save(torch.export.export(Two().eval(), images), tmp_path / "net.pt2")
    with pytest.raises(UsageError, match="takes 2 inputs instead of one image"):
        load(tmp_path / "net.pt2")
