"""The sections of wrong answers, as photographs: the surest mistakes of a run, and where two runs disagree."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cifar_edge.report import figures
from cifar_edge.report.html import Html, code, element, join
from cifar_edge.report.pictures import evidence_map, photograph, picture
from cifar_edge.report.subject import Tested
from cifar_edge.training.activation_map import activation_maps
from cifar_edge.training.mistakes import mistakes as surest
from cifar_edge.training.mistakes import scores

SHOWN = 40
"""The most mistakes that are shown of a run."""
SHOWN_OF_A_PAIR = 12
"""The most images that are shown of those that only one of two runs has right."""


def mistakes(tested: Tested) -> Html:
    """The wrong test images with the highest scores, each with a map of what spoke for the mistake."""
    wrong = surest(tested.dataset, tested.logits)
    shown = wrong[:SHOWN]
    if not len(wrong):
        return element("p", "No test image is in a wrong class.")
    some = (
        f"{len(wrong):,} test images are in a wrong class" if len(wrong) > 1 else "One test image is in a wrong class"
    )
    if len(shown) < len(wrong):
        some += f"; the {len(shown)} of highest score are shown"
    elif len(wrong) > 1:
        some += ", highest score first"
    maps = activation_maps(tested.network, tested.dataset.test_images[shown])
    how = (
        " Beside each lies a class-activation map of the predicted class less that of the true one: bright is what "
        "spoke for the mistake."
        if maps is not None
        else " This network has no class-activation maps, since it does not end in a global average pool."
    )
    figures_of = [_mistake(tested, int(index), None if maps is None else maps[at]) for at, index in enumerate(shown)]
    parts = [element("p", f"{some}.{how}")]
    if tested.dataset.folder is not None:
        doubted = code("cifar-edge data --data DIR --model RUN")
        parts.append(element("p", "A very sure mistake may be a wrong label: ", doubted, " lists them, by file."))
    return join([*parts, element("div", *figures_of, class_="gallery")])


def _mistake(tested: Tested, index: int, maps: npt.NDArray[np.float32] | None) -> Html:
    dataset, logits = tested.dataset, tested.logits[index]
    said, true = int(logits.argmax()), int(dataset.test_labels[index])
    said_name, true_name = dataset.labels[said], dataset.labels[true]
    image, pixels, name = photograph(dataset, index, true_name, f"taken for {said_name}")
    images = [image]
    if maps is not None:
        images.append(evidence_map(pixels, maps[said] - maps[true], said_name, true_name))
    score = float(scores(logits[None])[0])
    caption = join([element("strong", true_name), f" taken for {said_name} ({figures.percent(score, 1)})"])
    return picture(caption, images, name)


def disagreements(names: Sequence[str], one: Tested, other: Tested) -> Html:
    """The images that only one of two networks has right, those first of which the other one is surest."""
    parts: list[Html] = []
    for name, right, wrong in ((names[0], one, other), (names[1], other, one)):
        only = np.flatnonzero(right.right & ~wrong.right)
        order = only[np.argsort(-scores(wrong.logits)[only], kind="stable")]
        parts.append(element("h3", f"Only {name} is right: {figures.images(len(only))}"))
        if len(only):
            shown = [_only_one(int(index), wrong) for index in order[:SHOWN_OF_A_PAIR]]
            parts.append(element("div", *shown, class_="gallery small"))
    return join(parts)


def _only_one(index: int, wrong: Tested) -> Html:
    dataset = wrong.dataset
    true, said = dataset.labels[int(dataset.test_labels[index])], dataset.labels[int(wrong.logits[index].argmax())]
    image, _, name = photograph(dataset, index, true)
    score = float(scores(wrong.logits[index][None])[0])
    caption = join([element("strong", true), f", and not {said} ({figures.percent(score, 1)})"])
    return picture(caption, [image], name)
