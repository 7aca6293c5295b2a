"""One training step: forward, loss, backward, SGD and Muon, moving average; on a GPU replayed as one CUDA graph."""

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
"""Steps on a GPU before the capture of a graph, for lazy initialisation and compilation."""


def schedule(position: float, warmup: float) -> float:
    """Learning rate as a fraction of its peak at ``position`` in [0, 1]: a linear rise, then half a cosine."""
    if position < warmup:
        return position / warmup
    return 0.5 + 0.5 * math.cos(math.pi * (position - warmup) / (1.0 - warmup)) if warmup < 1.0 else 1.0


_ALONE = Worker()


class Step:
    """Trains ``network`` in place by one batch a call, and keeps the moving average of its weights.

    Args:
        network: on ``device``.
        recipe: resolved.
        device: of images and network.
        worker: this process among those that share each batch.
        class_weights: of the loss, float32 ``[classes]``; None weights all classes alike.

    Attributes:
        ema: the network with averaged weights and buffers, to evaluate and save.
        loss: sum of the losses since `start_epoch`, float32 scalar on the device.
        batch_size: number of images in the last step, over all processes.
        correct: number of correctly classified augmented images since `start_epoch`, int64 scalar; the right class of a
            mixture is that of its larger part.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        device: torch.device,
        worker: Worker = _ALONE,
        class_weights: Tensor | None = None,
    ) -> None:
        self._worker, self._class_weights = worker, class_weights
        self.network, self.recipe, self.device = network, recipe, device
        self.ema = copy.deepcopy(network).requires_grad_(False)
        self.batch_size = 0
        self.loss = torch.zeros((), device=device)
        self.correct = torch.zeros((), dtype=torch.int64, device=device)
        self._learning_rate = torch.zeros((), device=device)
        self._mixture = torch.ones((), device=device)
        self._ema_weight = torch.zeros((), device=device)
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
        self._kept: dict[str, Tensor] = {}

    def state(self) -> dict[str, Tensor]:
        """All that later steps depend on: name -> tensor, not copied."""
        state = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        state |= {f"average.{name}": tensor for name, tensor in self.ema.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            if (momentum := self._optimizer_of(parameter).state[parameter].get("momentum_buffer")) is not None:
                state[f"momentum.{name}"] = momentum
        state |= {f"kept.{name}": tensor for name, tensor in self._kept.items()}
        return state | {"loss": self.loss, "correct": self.correct, "calls": torch.tensor(self._calls)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` gave, even in the middle of an epoch; called before the first step.

        Raises:
            ValueError: it belongs to another network.
        """
        expected, parameters = self.state(), dict(self.network.named_parameters())
        momenta = {f"momentum.{name}": parameter for name, parameter in parameters.items()}
        optional = momenta | {f"kept.{name}": tensor for name, tensor in self.ema.state_dict().items()}
        check_tensors(state, expected | {name: optional[name] for name in state.keys() & optional.keys()})
        kept = _part(state, "kept.")
        if len(kept) not in (0, len(optional) - len(momenta)):
            raise ValueError("some of its kept weights are missing")
        for optimizer in (self._sgd, self._muon):  # each has all momentum buffers, or none before its first step
            own = {name for name, parameter in momenta.items() if self._optimizer_of(parameter) is optimizer}
            if len(own & state.keys()) not in (0, len(own)):
                raise ValueError("some of its momentum buffers are missing")
        if state["calls"] < 0:
            raise ValueError("its number of steps is negative")

        self.network.load_state_dict(network_weights(state))
        self.ema.load_state_dict(_part(state, "average."))
        for name, momentum in _part(state, "momentum.").items():
            parameter = parameters[name]
            buffer = torch.empty_like(parameter, requires_grad=False).copy_(momentum)
            self._optimizer_of(parameter).state[parameter]["momentum_buffer"] = buffer
        self.loss.copy_(state["loss"])
        self.correct.copy_(state["correct"])
        self._calls, self._kept = int(state["calls"]), kept
        self.network.train()

    def keep_average(self) -> None:
        """Keep the weights and buffers of ``ema`` as they are now, in place of those kept before."""
        self._kept = {name: tensor.clone() for name, tensor in self.ema.state_dict().items()}

    def restore_average(self) -> None:
        """Give ``ema`` the weights and buffers that were kept, if any were."""
        if self._kept:
            self.ema.load_state_dict(self._kept)

    def _optimizer_of(self, parameter: nn.Parameter) -> torch.optim.SGD | Muon:
        return self._muon if parameter in self._muon.state else self._sgd

    def is_finite(self) -> bool:
        """Whether the losses since `start_epoch` and all weights are finite; waits for the GPU."""
        norms = torch._foreach_norm([self.loss, *_floating_state(self.network)])
        return bool(torch.stack([norm.float() for norm in norms]).isfinite().all())

    def start_epoch(self) -> None:
        """Reset `loss` and `correct`, and set the network to training mode."""
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
            position: of this step in the whole training, in [0, 1].
            mixture: share of each image in its mixture with another of the batch (mixup), in [0, 1].
            teacher_logits: float ``[batch, classes]``, for the unmixed images; None, then at every call, trains without
                a teacher.
        """
        self.batch_size = len(images) * self._worker.world_size
        self._mixture.fill_(mixture)
        fraction = schedule(position, self.recipe.warmup)
        self._learning_rate.fill_(self.recipe.learning_rate * fraction)
        self._muon_rate.fill_(self.recipe.muon_learning_rate * fraction)
        # The average starts with a smaller decay: in a short training it would else contain the random initial weights.
        self._ema_weight.fill_(1.0 - min(self.recipe.ema_decay, (1 + self._calls) / (10 + self._calls)))
        self._calls += 1
        if self.device.type != "cuda":
            self._step(images, labels, teacher_logits)
        elif self._eager_steps < _EAGER_STEPS:
            self._eager_steps += 1
            # The steps before a capture run on a side stream, as PyTorch's notes on CUDA graphs require.
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
            mean_correct = correct.float()
            gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
            self._worker.average([*gradients, loss, mean_correct])
            correct = (mean_correct * self._worker.world_size).round().long()
        self._sgd.step()
        self._muon.step()
        with torch.no_grad():
            self.loss += loss
            self.correct += correct
            self._update_ema()

    def _loss_and_correct(self, images: Tensor, labels: Tensor, teacher_logits: Tensor | None) -> tuple[Tensor, Tensor]:
        recipe = self.recipe
        with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            inputs = pixels_to_input(images)
            if recipe.mixup:
                inputs = torch.lerp(inputs.flip(0), inputs, self._mixture)
            logits = self.network(inputs).float()
            loss = self._loss(logits, labels, teacher_logits)
            if recipe.mixup:
                # Up to a term without gradient, this is the loss against mixed labels and mixed teacher probabilities.
                others = None if teacher_logits is None else teacher_logits.flip(0)
                loss = torch.lerp(self._loss(logits, labels.flip(0), others), loss, self._mixture)
        main_labels = torch.where(self._mixture < 0.5, labels.flip(0), labels)
        return loss, (logits.argmax(1) == main_labels).sum()

    def _loss(self, logits: Tensor, labels: Tensor, teacher_logits: Tensor | None) -> Tensor:
        recipe = self.recipe
        loss = F.cross_entropy(logits, labels, self._class_weights, label_smoothing=recipe.label_smoothing)
        if teacher_logits is None:
            return loss
        distance = F.kl_div(
            F.log_softmax(logits / recipe.temperature, 1),
            F.log_softmax(teacher_logits.float() / recipe.temperature, 1),
            reduction="batchmean",
            log_target=True,
        )
        return (1 - recipe.distillation_weight) * loss + recipe.distillation_weight * recipe.temperature**2 * distance

    def _update_ema(self) -> None:
        old, new = _floating_state(self.ema), _floating_state(self.network)
        difference = torch._foreach_sub(new, old)
        torch._foreach_mul_(difference, self._ema_weight)
        torch._foreach_add_(old, difference)


def network_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the network in what `Step.state` gave: name -> tensor."""
    return _part(state, "network.")


def _part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _floating_state(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *(buffer for buffer in network.buffers() if buffer.is_floating_point())]


def _matrices(network: nn.Module) -> list[nn.Parameter]:
    """Weights of convolutions, except depthwise ones, which are not matrices."""
    return [p for p in network.parameters() if p.requires_grad and p.ndim == 4 and p.shape[1] > 1]


def _parameter_groups(
    network: nn.Module, weight_decay: float, others: Sequence[nn.Parameter]
) -> list[dict[str, object]]:
    """All parameters except ``others``, in two groups: with and without weight decay."""
    excluded = set(others)
    parameters = [p for p in network.parameters() if p.requires_grad and p not in excluded]
    return [
        # Convolution and linear weights, and the norms of s8-layer, which have a scale at every position.
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        # Biases, and norms with a scale a channel.
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
