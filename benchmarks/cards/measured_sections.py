"""The sections of a model card that tell what was measured on images."""

from collections.abc import Mapping
from statistics import mean

from benchmarks.cards.calibration import BINS, expected_calibration_error, negative_log_likelihood
from benchmarks.cards.corruptions import CORRUPTIONS, TRANSFORMS
from benchmarks.cards.facts import Form, Measured, Released
from benchmarks.cards.markdown import block, paragraph, table
from benchmarks.cards.trainings import Training
from cifar_edge.cli.evaluate import text_report
from cifar_edge.errors import ModelError
from cifar_edge.measure.accuracy import Evaluation
from cifar_edge.measure.metrics import Estimate
from cifar_edge.spec import IMAGE_SIZE, resize_rule

_REFERENCE = (
    'A reference to compare others with: the network of "CIFAR-10 with Group Norm", with {} after each 3x3 '
    "convolution. For use take [gn-cnn](../gn-cnn/README.md), which is more accurate."
)
_PURPOSE = {
    "gn-cnn": "The product's default: it tells which of ten things a small picture shows, on a small CPU, one image at "
    "a time. Trained with GroupNorm, deployed with the norms folded into the convolutions.",
    "gn-cnn-max": "For the most accuracy within 50,000 parameters: it tells which of ten things a small picture "
    "shows, in 2.5 times the time of [gn-cnn](../gn-cnn/README.md). Trained with GroupNorm, deployed with the norms "
    "folded into the convolutions.",
    "gn-cnn-nano": "For the smallest devices: it tells which of ten things a small picture shows with a third of the "
    "weights of [gn-cnn](../gn-cnn/README.md), which is more accurate; take that one where it fits. Trained with "
    "GroupNorm, deployed with the norms folded into the convolutions.",
    "s8-layer": _REFERENCE.format("LayerNorm over channels and positions"),
    "s8-group": _REFERENCE.format("GroupNorm in two groups"),
    "s8-batch": _REFERENCE.format("BatchNorm"),
}
_WORTH_TELLING = 0.05
"""Accuracy by which the network as trained must surpass the file to deploy, for a warning."""


def purpose(model: Released) -> str:
    """What it is for, in a sentence or two.

    Raises:
        ModelError: nothing is written here about such a model.
    """
    if model.name not in _PURPOSE:
        raise ModelError(f"benchmarks/cards/measured_sections.py does not say what {model.name} is for")
    return _PURPOSE[model.name]


def intended_use(model: Released, measured: Measured) -> str:
    """What it is for, and what it cannot do."""
    best = measured.evaluations[model.deployed.name]
    worst = int(best.recall.argmin())
    mistaken = best.confusion[worst].copy()
    mistaken[worst] = 0
    limits = [
        f"It answers with one of {len(best.labels)} classes ({', '.join(best.labels)}), whatever the picture shows.",
        f"It sees 32x32 pixels. A larger photo becomes these by one rule ({resize_rule(IMAGE_SIZE)}): what is small in "
        "it, or not in its middle, is lost.",
        f"It finds {best.recall[worst]:.1%} of what is {best.labels[worst]}, its weakest class, and takes most of the "
        f"rest for {best.labels[int(mistaken.argmax())]}.",
        *_fragile(model, measured),
        "Every accuracy here is on CIFAR-10's test images; other photos are harder. About 3 % of the test images have "
        "a near duplicate among the training images (Barz & Denzler 2020, arXiv:1902.00423), and about 0.5 % a wrong "
        "label (Northcutt et al. 2021, arXiv:2103.14749).",
        "It is no basis for decisions about people or safety. It was not tested against images made to deceive it.",
    ]
    return f"{paragraph(purpose(model))}\n{''.join(paragraph(limit, '- ') for limit in limits)}"


def _fragile(model: Released, measured: Measured) -> list[str]:
    """A warning of corruptions that the network as trained withstands far better than the file to deploy, if any."""
    trained, deployed = model.forms[0].name, model.deployed.name
    found = []
    for each in CORRUPTIONS:
        better, worse = (mean(measured.corrupted[name, each.name]) for name in (trained, deployed))
        if better - worse > _WORTH_TELLING:
            found.append(f"{each.name} ({better:.1%} against {worse:.1%})")
    if not found:
        return []
    return [
        f"{trained} withstands some corruptions far better than {deployed}: on average of five strengths "
        f"{', '.join(found)}. Where these are to be expected, take {trained}; see Corruptions."
    ]


def accuracy(model: Released, accuracies: Mapping[str, Estimate]) -> str:
    """What each form costs and how often it is right on test images, by its name."""
    rows = [
        [
            form.name,
            f"{form.parameters:,}",
            f"{form.macs:,}",
            f"{form.file.stat().st_size:,}" if form.file else "not a file",
            f"{accuracies[form.name].value:.2%}",
            f"{accuracies[form.name].low:.2%} to {accuracies[form.name].high:.2%}",
        ]
        for form in model.forms
    ]
    text = (
        f"On all {accuracies[model.deployed.name].images:,} test images, with Wilson's 95 % interval: "
        f"{_commands(model, 'cifar-edge evaluate {}')}. On its {model.summary.train_images:,} training images, not "
        f"augmented, the network as trained reaches {model.summary.train_accuracy:.2%}."
    )
    heads = ["", "parameters>", "MACs>", "bytes>", "test accuracy>", "95 % interval>"]
    return f"{table(heads, rows)}\n{paragraph(text)}"


def sample_check(model: Released, right: Mapping[str, int], images: int) -> str:
    """How many of the embedded sample's test images each file takes rightly, by its form's name."""
    counts = ", ".join(f"{count} ({name})" for name, count in right.items())
    return paragraph(
        f"A check that needs no download: of the {images} test images in the embedded sample, the files are right on "
        f"{counts}: {_commands(model, 'cifar-edge evaluate {} --data sample')}."
    )


def classes(model: Released, deployed: Evaluation) -> str:
    """Recall of each class and the confusion matrix of the file to deploy."""
    assert model.deployed.file is not None
    told = f"Of the file to deploy, `{model.deployed.file.name}`, as `cifar-edge evaluate {model.name}` prints them:"
    return f"{told}\n\n{block(text_report(deployed))}"


def calibration(model: Released, measured: Measured) -> str:
    """Calibration error of each file, as it is and at its temperature."""
    rows = []
    for form in model.exported:
        row = [form.name]
        for judge in (expected_calibration_error, negative_log_likelihood):
            logits, true = measured.logits[form.name], measured.classes
            row.append(f"{judge(logits, true):.4f}")
            row.append(f"{judge(logits, true, form.temperature):.4f}" if _fitted(form) else "-")
        rows.append([*row, f"{form.temperature:g}" if _fitted(form) else "none"])
    origin = "No temperature was fitted: that takes another training, with images held out."
    if model.twin is None and any(map(_fitted, model.exported)):
        origin = "The temperatures were fitted to a relative that was trained alike; no twin of its own was."
    if model.twin is not None:
        origin = (
            "The temperatures are those of the least negative log likelihood (NLL) on the "
            f"{model.twin.images:,} held-out images of a twin, which was trained {_alike(model, model.twin)} on the "
            "others. They are in the files' metadata; `predict` and `Classifier` divide the logits by them. That "
            "changes scores, not answers."
        )
    text = (
        "How far a score can be believed, on all test images. Expected calibration error (ECE): images are sorted by "
        f"their score, the largest softmax probability, into {BINS} bins of equal width; it is the distance between "
        "accuracy and mean score in a bin, averaged over the bins with the images in them as weights (Guo et al. 2017, "
        f"arXiv:1706.04599). {origin}"
    )
    heads = ["", "ECE>", "at the temperature>", "NLL>", "at the temperature>", "temperature>"]
    return f"{table(heads, rows)}\n{paragraph(text)}"


def _alike(model: Released, twin: Training) -> str:
    """How its twin was trained, beside the released network."""
    return "alike" if twin.epochs == model.recipe.epochs else f"for {twin.epochs} epochs, not {model.recipe.epochs},"


def corruptions(model: Released, measured: Measured) -> str:
    """Accuracy of the file to deploy on images that got worse, and the mean of each other form."""
    deployed = model.deployed.name
    others = [form.name for form in model.forms if form.name != deployed]

    rows = []
    for each in CORRUPTIONS:
        strengths = ", ".join(f"{strength:g}" for strength in each.strengths)
        found = [f"{value:.1%}" for value in measured.corrupted[deployed, each.name]]
        means = [f"{mean(measured.corrupted[name, each.name]):.1%}" for name in (deployed, *others)]
        rows.append([f"{each.name} ({each.parameter})", strengths, *found, *means])
    clean = measured.evaluations[deployed].accuracy
    text = (
        f"Accuracy of {deployed} on the {clean.images:,} test images at five strengths, and means over these; without "
        f"corruption it is {clean.value:.1%}. {TRANSFORMS} The strengths of noise, blur, contrast and JPEG are those "
        "of CIFAR-10-C (Hendrycks & Dietterich 2019, arXiv:1903.12261), whose transforms differ in details."
    )
    heads = ["", "strengths", "1>", "2>", "3>", "4>", "5>", "mean>", *(f"mean, {name}>" for name in others)]
    return f"{table(heads, rows)}\n{paragraph(text)}"


def _fitted(form: Form) -> bool:
    return form.temperature != 1.0


def _commands(model: Released, command: str) -> str:
    """The command for each file, which it names as ``gn-cnn.int8``."""
    names = [form.file.name.removesuffix(".onnx") for form in model.forms if form.file]
    return ", ".join(f"`{command.format(name)}`" for name in names)
