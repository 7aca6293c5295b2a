"""What each norm costs: parameters, memory and time of a training step, latency of the exported network."""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import onnxruntime
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.normalisation.results import Training
from benchmarks.normalisation.training import recipe_of
from cifar_edge.data import Dataset
from cifar_edge.export.fp32 import network_graph, with_pixels
from cifar_edge.measure.timing import session_run, take_turns, time_singles
from cifar_edge.models import build
from cifar_edge.models.summary import count_parameters
from cifar_edge.spec import IMAGE_SIZE
from cifar_edge.training.step import Step

COSTS = "costs.csv"
LATENCIES = "latency.csv"
ROUNDS = 20
NORMS = (nn.GroupNorm, nn.LayerNorm, nn.BatchNorm2d)
_IMAGES_A_TURN = 512
_WARM_UP = 2


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a training step costs with one norm and batch size.

    Attributes:
        norm: ``group``, ``layer``, ``batch`` or ``none``.
        batch_size: images of the step.
        parameters: of the network.
        norm_parameters: how many of them the norms have.
        saved_bytes: of tensors that forward keeps for backward, each storage once, parameters left out.
        peak_bytes: the most that was allocated at one time during the step, beyond what lies there between steps.
        step_ms: median time, all norms of a batch size in turns.
        step_ratio: that time to group norm's.
    """

    norm: str
    batch_size: int
    parameters: int
    norm_parameters: int
    saved_bytes: int
    peak_bytes: int
    step_ms: float
    step_ratio: float


@dataclass(frozen=True, kw_only=True)
class NormLatency:
    """What the exported network takes for one image.

    Attributes:
        norm: as in `Cost`.
        p50_us: median of the fp32 graph in onnxruntime, batch 1, one thread, all norms in turns.
        ratio: that time to group norm's.
    """

    norm: str
    p50_us: float
    ratio: float


def costs(norms: Sequence[str], batch_sizes: Sequence[int], dataset: Dataset, rounds: int = ROUNDS) -> list[Cost]:
    """Measure training steps, in float32 and on one thread; ``norms`` hold ``group``, to which times are compared."""
    torch.set_num_threads(1)
    found = []
    for size in batch_sizes:
        steps = {norm: training_step(norm, size, dataset) for norm in norms}
        timed = take_turns(steps, rounds, max(1, _IMAGES_A_TURN // size), _WARM_UP)
        times = {norm: median(seconds) for norm, seconds in timed.items()}
        for norm, step in steps.items():
            network = build(f"s8-{norm}")
            found.append(
                Cost(
                    norm=norm,
                    batch_size=size,
                    parameters=count_parameters(network),
                    norm_parameters=norm_parameters(network),
                    saved_bytes=saved_bytes(step),
                    peak_bytes=peak_bytes(step),
                    step_ms=round(times[norm] * 1e3, 3),
                    step_ratio=round(times[norm] / times["group"], 3),
                )
            )
    return found


def training_step(norm: str, batch_size: int, dataset: Dataset) -> Callable[[], None]:
    """One step of the study's training on the first images, as often as it is called; the first call is done."""
    training = Training(norm=norm, batch_size=batch_size, learning_rate=1e-3, train_images=0, epochs=1, seed=0)
    torch.manual_seed(0)
    recipe = recipe_of(training, 0)
    step = Step(build(recipe.model), recipe, torch.device("cpu"))
    step.start_epoch()
    part = torch.arange(batch_size) % len(dataset.train_labels)
    images, labels = torch.from_numpy(dataset.train_images)[part], torch.from_numpy(dataset.train_labels)[part]
    call = partial(step, images, labels, 0.5)
    call()  # momentum is allocated by the first step and stays
    return call


def norm_parameters(network: nn.Module) -> int:
    """Parameters of the norms of ``network``."""
    return sum(count_parameters(module) for module in network.modules() if isinstance(module, NORMS))


def saved_bytes(step: Callable[[], None]) -> int:
    """Bytes that forward saves for backward in ``step``: no parameters; two tensors in one storage count once."""
    storages: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage  # held, so that no later one gets its address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        step()
    return sum(storage.nbytes() for storage in storages.values())


def peak_bytes(step: Callable[[], None]) -> int:
    """The most that torch's allocator holds at a time during ``step``, beyond what it held before.

    Two steps are followed, so that the gradients of the first lie there when the second begins, as in a training.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
        step()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    held = peak = 0
    for event in sorted((each for each in events if each.get("name") == "[memory]"), key=lambda each: each["ts"]):
        held += event["args"]["Bytes"]  # negative where memory is given back
        peak = max(peak, held)
    return peak


def latencies(norms: Sequence[str], dataset: Dataset, rounds: int = ROUNDS) -> list[NormLatency]:
    """Time the exported fp32 networks, untrained, which are as fast as trained ones; ``norms`` hold ``group``."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    calls = {}
    for norm in norms:
        model = with_pixels(network_graph(build(f"s8-{norm}").eval(), IMAGE_SIZE))
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        calls[norm] = session_run(session, dataset.test_images[:1])
    times = {norm: median(seconds) for norm, seconds in time_singles(calls, rounds).items()}
    return [
        NormLatency(norm=norm, p50_us=round(time * 1e6, 1), ratio=round(time / times["group"], 3))
        for norm, time in times.items()
    ]
