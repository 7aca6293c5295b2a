"""One optimiser step: forward, loss, backward, SGD and Muon, moving average; on a GPU replayed as one CUDA graph."""

import copy
import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cifar_edge.models.pixels import pixels_to_input
from cifar_edge.runs.recipe import Recipe
from cifar_edge.training.checkpoint import check_tensors
from cifar_edge.training.distributed import Worker
from cifar_edge.training.muon import Muon

_EAGER_STEPS = 3
"""Steps on a GPU before the capture: lazy initialisation and compilation happen in them."""


def schedule(position: float, warmup: float) -> float:
    """Learning rate as a fraction of its peak at ``position`` in [0, 1]: a linear rise, then half a cosine."""
    if position < warmup:
        return position / warmup
    return 0.5 + 0.5 * math.cos(math.pi * (position - warmup) / (1.0 - warmup)) if warmup < 1.0 else 1.0


_ALONE = Worker()


class Step:
    """Trains ``network`` in place by one batch a call, and keeps its moving average.

    Attributes:
        average: the network with the averaged weights and buffers, to evaluate and save.
        loss: sum of the losses since `start_epoch`, float32 scalar on the device.
        batch_size: images of the last step, those of all processes.
        correct: rightly classified (augmented) images since `start_epoch`, mixtures by their larger part; int64 scalar.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        device: torch.device,
        worker: Worker = _ALONE,
    ) -> None:
        self._worker = worker
        self.network, self.recipe, self.device = network, recipe, device
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.batch_size = 0
        self.loss = torch.zeros((), device=device)
        self.correct = torch.zeros((), dtype=torch.int64, device=device)
        self._learning_rate = torch.zeros((), device=device)
        self._mixture = torch.ones((), device=device)
        self._pace = torch.zeros((), device=device)
        self._muon_rate = torch.zeros((), device=device)
        matrices = _matrices(network) if recipe.muon_learning_rate else []
        self._muon = Muon(matrices, self._muon_rate, recipe.momentum)
        self._sgd = torch.optim.SGD(
            _parameter_groups(network, recipe.weight_decay, matrices),
            lr=self._learning_rate,
            momentum=recipe.momentum,
            nesterov=recipe.momentum > 0,
            fused=True,
        )
        compiled = recipe.compile and device.type == "cuda"
        self._objective = torch.compile(self._loss_and_correct) if compiled else self._loss_and_correct
        self._graph: torch.cuda.CUDAGraph | None = None
        self._calls = self._eager_steps = 0

    def state(self) -> dict[str, Tensor]:
        """All that later steps depend on, by name; not copied."""
        state = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        state |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            if (momentum := self._optimizer_of(parameter).state[parameter].get("momentum_buffer")) is not None:
                state[f"momentum.{name}"] = momentum
        return state | {"loss": self.loss, "correct": self.correct, "calls": torch.tensor(self._calls)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave, before the first step, be it within an epoch.

        Raises:
            ValueError: it is that of another network.
        """
        expected, parameters = self.state(), dict(self.network.named_parameters())
        momenta = {f"momentum.{name}": parameter for name, parameter in parameters.items()}
        check_tensors(state, expected | {name: momenta[name] for name in state.keys() & momenta.keys()})
        for optimizer in (self._sgd, self._muon):  # each has all of its momenta, or none yet
            own = {name for name, parameter in momenta.items() if self._optimizer_of(parameter) is optimizer}
            if len(own & state.keys()) not in (0, len(own)):
                raise ValueError("it lacks momenta")
        if state["calls"] < 0:
            raise ValueError("its number of steps is negative")

        def part(name: str) -> dict[str, Tensor]:
            return {key.removeprefix(name): tensor for key, tensor in state.items() if key.startswith(name)}

        self.network.load_state_dict(part("network."))
        self.average.load_state_dict(part("average."))
        for name, momentum in part("momentum.").items():
            parameter = parameters[name]
            buffer = torch.empty_like(parameter, requires_grad=False).copy_(momentum)
            self._optimizer_of(parameter).state[parameter]["momentum_buffer"] = buffer
        self.loss.copy_(state["loss"])
        self.correct.copy_(state["correct"])
        self._calls = int(state["calls"])
        self.network.train()

    def _optimizer_of(self, parameter: nn.Parameter) -> torch.optim.SGD | Muon:
        return self._muon if parameter in self._muon.state else self._sgd

    def is_finite(self) -> bool:
        """Whether the losses since `start_epoch` and all weights are finite; waits for a GPU."""
        norms = torch._foreach_norm([self.loss, *_floating_state(self.network)])
        return bool(torch.stack([norm.float() for norm in norms]).isfinite().all())

    def start_epoch(self) -> None:
        """Set the sums to zero and the network to training mode."""
        self.loss.zero_()
        self.correct.zero_()
        self.network.train()

    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        position: float,
        mixture: float = 1.0,
        teacher_logits: Tensor | None = None,
    ) -> None:
        """Take one step.

        Args:
            images: uint8 ``[batch, S, S, 3]``; the same shape at every call.
            labels: int64 ``[batch]``.
            position: where in the whole training this step stands, in [0, 1].
            mixture: share of each image in its mixture with another of the batch, in [0, 1] (mixup).
            teacher_logits: what a teacher says of the images, not mixed, float ``[batch, classes]``; None at every call
                trains without one.
        """
        self.batch_size = len(images) * self._worker.world_size
        self._mixture.fill_(mixture)
        fraction = schedule(position, self.recipe.warmup)
        self._learning_rate.fill_(self.recipe.learning_rate * fraction)
        self._muon_rate.fill_(self.recipe.muon_learning_rate * fraction)
        # A young average forgets faster, or a short training would be averaged with its own random start.
        self._pace.fill_(1.0 - min(self.recipe.ema_decay, (1 + self._calls) / (10 + self._calls)))
        self._calls += 1
        if self.device.type != "cuda":
            self._step(images, labels, teacher_logits)
        elif self._eager_steps < _EAGER_STEPS:
            self._eager_steps += 1
            # A capture needs its warm-up on a side stream: see PyTorch's notes on CUDA graphs.
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                self._step(images, labels, teacher_logits)
            torch.cuda.current_stream().wait_stream(stream)
        else:
            if self._graph is None:
                self._capture(images, labels, teacher_logits)
            self._images.copy_(images)
            self._labels.copy_(labels)
            if self._teacher_logits is not None:
                assert teacher_logits is not None
                self._teacher_logits.copy_(teacher_logits)
            assert self._graph is not None
            self._graph.replay()

    def _capture(self, images: Tensor, labels: Tensor, teacher_logits: Tensor | None) -> None:
        self._images, self._labels = images.clone(), labels.clone()
        self._teacher_logits = None if teacher_logits is None else teacher_logits.clone()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._step(self._images, self._labels, self._teacher_logits)

    def _step(self, images: Tensor, labels: Tensor, teacher_logits: Tensor | None) -> None:
        loss, correct = self._objective(images, labels, teacher_logits)
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        loss = loss.detach()
        if self._worker.world_size > 1:
            share = correct.float()
            self._worker.average([p.grad for p in self.network.parameters() if p.grad is not None] + [loss, share])
            correct = (share * self._worker.world_size).round().long()
        self._sgd.step()
        self._muon.step()
        with torch.no_grad():
            self.loss += loss
            self.correct += correct
            self._update_average()

    def _loss_and_correct(self, images: Tensor, labels: Tensor, teacher_logits: Tensor | None) -> tuple[Tensor, Tensor]:
        recipe = self.recipe
        with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            inputs = pixels_to_input(images)
            if recipe.mixup:
                inputs = torch.lerp(inputs.flip(0), inputs, self._mixture)
            logits = self.network(inputs).float()
            loss = self._loss(logits, labels, teacher_logits)
            if recipe.mixup:
                # Up to a term without gradient, this is the loss of mixed targets, the teacher's included.
                others = None if teacher_logits is None else teacher_logits.flip(0)
                loss = torch.lerp(self._loss(logits, labels.flip(0), others), loss, self._mixture)
        mostly = torch.where(self._mixture < 0.5, labels.flip(0), labels)
        return loss, (logits.argmax(1) == mostly).sum()

    def _loss(self, logits: Tensor, labels: Tensor, teacher_logits: Tensor | None) -> Tensor:
        recipe = self.recipe
        loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        if teacher_logits is None:
            return loss
        distance = F.kl_div(
            F.log_softmax(logits / recipe.temperature, 1),
            F.log_softmax(teacher_logits.float() / recipe.temperature, 1),
            reduction="batchmean",
            log_target=True,
        )
        return (1 - recipe.distillation_weight) * loss + recipe.distillation_weight * recipe.temperature**2 * distance

    def _update_average(self) -> None:
        old, new = _floating_state(self.average), _floating_state(self.network)
        difference = torch._foreach_sub(new, old)
        torch._foreach_mul_(difference, self._pace)
        torch._foreach_add_(old, difference)


def _floating_state(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *(buffer for buffer in network.buffers() if buffer.is_floating_point())]


def _matrices(network: nn.Module) -> list[nn.Parameter]:
    """Weights of convolutions, but for depthwise ones, which are no matrices."""
    return [p for p in network.parameters() if p.requires_grad and p.ndim == 4 and p.shape[1] > 1]


def _parameter_groups(
    network: nn.Module, weight_decay: float, others: Sequence[nn.Parameter]
) -> list[dict[str, object]]:
    """All parameters but the ``others``, by whether they decay."""
    left_out = set(others)
    parameters = [p for p in network.parameters() if p.requires_grad and p not in left_out]
    return [
        # Convolution and linear weights, and s8-layer's norms: with a scale at every position they are as many.
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        # Norms of channels, and biases: a decay would only fight the scale they are there to set.
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
