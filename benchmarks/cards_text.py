"""The sections of a model card, as markdown."""

import hashlib
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from cards_calibration import BINS, expected_calibration_error, negative_log_likelihood
from cards_corruptions import CORRUPTIONS, NOISE_SEED
from cards_facts import Form, Measured, Released
from cards_trainings import Training

from cifar_edge.cli.evaluate import text_report
from cifar_edge.cli.summary import text_table
from cifar_edge.models.summary import summarize
from cifar_edge.runtime.evaluate import Evaluation
from cifar_edge.runtime.metrics import Estimate
from cifar_edge.runtime.timing import LARGE_BATCH
from cifar_edge.spec import RESIZE_RULE
from cifar_edge.training.run import RECIPE

WIDTH = 120
"""Columns of the file's paragraphs; tables may be wider."""

TEACHER = "teacher.toml"

_REFERENCE = (
    'A reference to compare others with: the network of "CIFAR-10 with Group Norm", with {} after each 3x3 convolution. '
    "For use take [gn-cnn](../gn-cnn/README.md), which is more accurate."
)
_PURPOSE = {
    "gn-cnn": "The product's default: it tells which of ten things a small picture shows, on a small CPU, one image at a "
    "time. Trained with GroupNorm, deployed with the norms folded into the convolutions.",
    "s8-layer": _REFERENCE.format("LayerNorm over channels and positions"),
    "s8-group": _REFERENCE.format("GroupNorm in two groups"),
    "s8-batch": _REFERENCE.format("BatchNorm"),
}


def card(model: Released, measured: Measured, sample: Mapping[str, int], sample_images: int) -> str:
    """The whole card.

    Args:
        model: what is released.
        measured: on all test images.
        sample: of each form with a file, by its name, how many of the sample's test images are right.
        sample_images: how many these are.
    """
    evaluations = measured.evaluations
    deployed = evaluations[model.deployed.name]
    accuracies = {name: evaluation.accuracy for name, evaluation in evaluations.items()}
    sections = {
        "Intended use and limits": intended_use(model.name, deployed),
        "Accuracy and size": accuracy(model, accuracies) + sample_lines(model, sample, sample_images),
        "Layers": layers(model),
        "Classes": classes(model, deployed),
        "Calibration": calibration(model, measured),
        "Corruptions": corruptions(model, measured),
        "Latency": latency(model),
        "Training": training(model),
        "Seeds": seeds(model),
        "Files": files(model.files),
        "Data and licence": licence(model),
    }
    written = f"Written by `python benchmarks/cards.py {model.name}` from what it measures: do not edit.\n"
    return f"# {model.name}\n\n{written}" + "".join(f"\n## {title}\n\n{text}" for title, text in sections.items())


def intended_use(name: str, deployed: Evaluation) -> str:
    """What it is for, and what it cannot do."""
    known = ", ".join(deployed.labels)
    worst = int(deployed.recall.argmin())
    row = deployed.confusion[worst].copy()
    row[worst] = 0
    limits = [
        f"It answers with one of {len(deployed.labels)} classes ({known}), whatever the picture shows.",
        f"It sees 32x32 pixels. A larger photo becomes these by one rule ({RESIZE_RULE}): what is small in it, or not "
        "in its middle, is lost.",
        f"Weakest is {deployed.labels[worst]}: {deployed.recall[worst]:.1%} are found, most others taken for "
        f"{deployed.labels[int(row.argmax())]}.",
        "Every accuracy here is on CIFAR-10's test images. Other photos are harder. About 3 % of the test images have a "
        "near duplicate among the training images (Barz & Denzler 2020, arXiv:1902.00423), and about 0.5 % a wrong label "
        "(Northcutt et al. 2021, arXiv:2103.14749).",
        "It is no basis for decisions about people or safety, and nobody has tested it against images made to deceive it.",
    ]
    return _paragraph(_PURPOSE[name]) + "\n" + "".join(_paragraph(limit, "- ") for limit in limits)


def accuracy(model: Released, accuracies: Mapping[str, Estimate]) -> str:
    """What each form costs and how often it is right, by its name."""
    rows = []
    for form in model.forms:
        estimate = accuracies[form.name]
        size = f"{form.file.stat().st_size:,}" if form.file else "not a file"
        interval = f"{estimate.low:.2%} to {estimate.high:.2%}"
        costs = [f"{form.parameters:,}", f"{form.macs:,}", size]
        rows.append([form.name, *costs, f"{estimate.value:.2%}", interval])
    images = next(iter(accuracies.values())).images
    summary = model.summary
    lines = (
        f"On all {images:,} test images, with Wilson's 95 % interval: {_commands(model, 'cifar-edge evaluate {}')}. On "
        f"its {summary['train_images']:,} training images, not augmented, the network as trained reaches "
        f"{summary['train_accuracy']:.2%}."
    )
    heads = ["", "parameters>", "MACs>", "bytes>", "test accuracy>", "95 % interval>"]
    return _table(heads, rows) + "\n" + _paragraph(lines)


def sample_lines(model: Released, right: Mapping[str, int], images: int) -> str:
    """How many of the sample's test images each file takes rightly: a check that needs no download."""
    counts = " and ".join(f"{count} ({name})" for name, count in right.items())
    return _paragraph(
        f"Of the {images} test images in the embedded sample, {counts} are right: "
        f"{_commands(model, 'cifar-edge evaluate {} --data sample')}."
    )


def layers(model: Released) -> str:
    """The layers of the network as trained and, if there is one, of the folded one."""
    command = f"`cifar-edge summary {model.name}`"
    text = _paragraph(f"As trained ({command}; ReLU and the like are numbered, not listed):")
    text += "\n" + _block(text_table(summarize(model.trained.network)))
    if model.trained.folded is not None:
        text += "\nWith the norms folded, as in int8:\n\n" + _block(text_table(summarize(model.trained.folded)))
    return text


def classes(model: Released, deployed: Evaluation) -> str:
    """Recall of each class and the confusion matrix of the file to deploy."""
    assert model.deployed.file is not None
    told = f"Of the file to deploy, `{model.deployed.file.name}`, as `cifar-edge evaluate {model.name}` prints it:"
    return f"{told}\n\n{_block(text_report(deployed))}"


def calibration(model: Released, measured: Measured) -> str:
    """Calibration error of each file, as it is and at its temperature."""
    rows = []
    for form in _with_file(model):
        logits, fitted = measured.logits[form.name], form.temperature != 1.0
        judged = [
            f"{kind(logits, measured.classes, temperature):.4f}" if temperature == 1.0 or fitted else ""
            for kind in (expected_calibration_error, negative_log_likelihood)
            for temperature in (1.0, form.temperature if fitted else 0.0)
        ]
        rows.append([form.name, *judged, f"{form.temperature:g}" if fitted else "none"])
    twin = next((each for each in model.trainings if _is_twin(model, each)), None)
    origin = (
        "No temperature was fitted: for that a training with held-out images is needed."
        if twin is None
        else "The temperatures are those of the least negative log likelihood (NLL) on the "
        f"{twin.images:,} held-out images of a twin, trained alike on the others. They lie in the files' metadata; "
        "`predict` and `Classifier` divide the logits by them, which changes scores, not answers."
    )
    text = (
        "How far a score can be believed. Expected calibration error (ECE): images are sorted by their score, the "
        f"largest softmax probability, into {BINS} bins of equal width; it is the distance between accuracy and mean "
        "score in a bin, averaged over the bins with the images in them as weights (Guo et al. 2017, arXiv:1706.04599). "
        f"{origin}"
    )
    heads = ["", "ECE>", "at the temperature>", "NLL>", "at the temperature>", "temperature>"]
    return f"{_table(heads, rows)}\n{_paragraph(text)}"


def corruptions(model: Released, measured: Measured) -> str:
    """Accuracy of the file to deploy on images that got worse, and the mean of each other file."""
    others = [form for form in _with_file(model) if form is not model.deployed]
    rows = []
    for corruption in CORRUPTIONS:
        by_form = {
            form.name: [measured.corrupted[form.name, corruption.name, strength] for strength in corruption.strengths]
            for form in _with_file(model)
        }
        strengths = ", ".join(f"{strength:g}" for strength in corruption.strengths)
        values = by_form[model.deployed.name]
        rows.append(
            [
                f"{corruption.name}: {corruption.parameter} {strengths}",
                *(f"{value:.1%}" for value in values),
                f"{mean(values):.1%}",
                *(f"{mean(by_form[form.name]):.1%}" for form in others),
            ]
        )
    clean = measured.evaluations[model.deployed.name].accuracy
    transforms = ", ".join(f"`{name}`" for name in dict.fromkeys(each.transform for each in CORRUPTIONS))
    text = (
        f"Accuracy of {model.deployed.name} on the {clean.images:,} test images, corrupted at five strengths; without "
        f"corruption it is {clean.value:.1%}. By torchvision.transforms.v2.functional: {transforms} (noise of seed "
        f"{NOISE_SEED}, kernel of the blur 9x9). The strengths of noise, blur, contrast and JPEG are those of CIFAR-10-C "
        "(Hendrycks & Dietterich 2019, arXiv:1903.12261), whose own transforms differ in details."
    )
    heads = ["", "1>", "2>", "3>", "4>", "5>", "mean>", *(f"mean of {form.name}>" for form in others)]
    return _table(heads, rows) + "\n" + _paragraph(text)


def latency(model: Released) -> str:
    """What the export's report says of the time each form takes."""
    report, rows = model.report, []
    first = report["rows"][0]
    for row in report["rows"]:
        timing = row["timing"]
        ratio = timing["p50_seconds"] / first["timing"]["p50_seconds"]
        times = [f"{timing[key] * 1e6:.1f} us" for key in ("p50_seconds", "p99_seconds")]
        rows.append([row["name"], *times, f"{ratio:.2f}", f"{timing['images_per_second']:,.0f}/s"])
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    text = (
        f"One image, one thread, all forms in turns within one run, on {report['machine']}; {versions}: "
        f"`cifar-edge export {model.name} --quantize`, whose report is "
        f"[export/{model.name}/report.md](../../export/{model.name}/report.md). Deploy {report['deploy']}: "
        f"{report['reason']}. Other machines give other times, and ratios that differ less."
    )
    heads = ["", "p50>", "p99>", "ratio of p50>", f"batch {LARGE_BATCH}>"]
    return _table(heads, rows) + "\n" + _paragraph(text)


def training(model: Released) -> str:
    """How it was trained, and how to do that again."""
    recipe, summary = model.recipe, model.summary
    device = "a CPU" if summary["device"] == "cpu" else f"one {summary['device']}"
    taught = f", distilled from the teacher of [{TEACHER}]({TEACHER})" if recipe.teacher else ""
    folded = (
        f"; then the norms were folded away and the rest trained on for {recipe.fold_epochs} epochs"
        if recipe.fold_epochs
        else ""
    )
    teachers = [each for each in model.trainings if each.model != model.name]
    told = [
        f"{recipe.epochs} epochs by [{RECIPE}]({RECIPE}), seed {recipe.seed}, on {summary['train_images']:,} training "
        f"images{taught}{folded}. It took {_duration(summary['seconds'])} on {device} with PyTorch "
        f"{summary['versions']['torch']}.",
        *(
            f"The teacher, {each.model}, is right on {each.accuracy['fp32']:.2%} of the {each.images:,} training images "
            "it was not trained on."
            for each in teachers
        ),
        *summary.get("notes", []),
    ]
    commands = [f"cifar-edge train --recipe models/{model.name}/{RECIPE}"]
    if recipe.teacher:
        name = Path(recipe.teacher).name
        commands.insert(0, f"cifar-edge train --recipe models/{model.name}/{TEACHER} --name {name}")
    again = (
        "To do it again, as far as a GPU allows: the same seed gives other weights on it, and an accuracy within the "
        "spread of seeds."
        if summary["device"] != "cpu"
        else "To do it again; with the same number of threads on the same kind of machine, bit for bit:"
    )
    released = [
        f"cifar-edge export {model.name} --quantize --out export/{model.name}",
        f"python benchmarks/cards.py {model.name}",
    ]
    return (
        _paragraph(" ".join(told))
        + f"\n{_paragraph(again)}\n{_block(chr(10).join(commands))}"
        + f"\nFrom the released weights to the files and to this card:\n\n{_block(chr(10).join(released))}"
    )


def seeds(model: Released) -> str:
    """What other seeds of the same recipe give, and the twin with held-out images."""
    alike = [each for each in model.trainings if each.model == model.name and not each.holdout]
    if len(alike) < 2:
        return _paragraph(f"Trained once, with seed {model.recipe.seed}: how much chance there is in it is not known.")
    names = list(alike[0].accuracy)
    rows = [[f"{each.seed}", *(f"{each.accuracy[name]:.2%}" for name in names)] for each in alike]
    columns = [[each.accuracy[name] for each in alike] for name in names]
    rows.append(["mean", *(f"{mean(column):.2%}" for column in columns)])
    rows.append(["standard deviation", *(f"{100 * stdev(column):.2f} points" for column in columns)])
    text = f"On the {alike[0].images:,} test images; the released one is seed {model.recipe.seed}, whatever the others give."
    for twin in (each for each in model.trainings if _is_twin(model, each)):
        reached = ", ".join(f"{name} {value:.2%}" for name, value in twin.accuracy.items())
        text += (
            f" The twin, seed {twin.seed} with {twin.holdout:,} training images held out, reaches on these: {reached}."
        )
    heads = ["seed", *(f"{name}>" for name in names)]
    return f"{_table(heads, rows)}\n{_paragraph(text + ' Command: see benchmarks/cards_trainings.py.')}"


def files(paths: Sequence[Path]) -> str:
    """Size and SHA-256 of each file, named from the folder that holds models/ and export/."""
    rows = []
    for path in paths:
        content = path.read_bytes()
        name = path.relative_to(path.parents[2]).as_posix()
        rows.append([f"`{name}`", f"{len(content):,}", f"`{hashlib.sha256(content).hexdigest()}`"])
    return _table(["", "bytes>", "SHA-256"], rows)


def licence(model: Released) -> str:
    """Where the data came from, and what may be done with the weights."""
    data = (
        "Trained on CIFAR-10 (Alex Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, technical report, "
        "University of Toronto, 2009; https://www.cs.toronto.edu/~kriz/cifar.html), as it came from: "
        f"{model.summary['data']['source']}. Its authors ask for that citation and give no licence text; the images are "
        "theirs or their photographers'."
    )
    return _paragraph("The weights and the files made of them are under [Apache-2.0](../../LICENSE).") + _paragraph(data)


def _is_twin(model: Released, each: Training) -> bool:
    return each.model == model.name and each.holdout > 0


def _with_file(model: Released) -> list[Form]:
    return [form for form in model.forms if form.file is not None]


def _commands(model: Released, command: str) -> str:
    """The command for each file, which it names as ``gn-cnn.int8``."""
    names = [form.file.name.removesuffix(".onnx") for form in model.forms if form.file]
    return ", ".join(f"`{command.format(name)}`" for name in names)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table; a head that ends in ``>`` has its column aligned to the right."""
    lines = [
        [head.removesuffix(">") for head in heads],
        ["--:" if head.endswith(">") else "---" for head in heads],
        *rows,
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _block(text: str) -> str:
    return f"```text\n{text}\n```\n"


def _paragraph(text: str, bullet: str = "") -> str:
    return (
        textwrap.fill(
            bullet + text,
            WIDTH,
            subsequent_indent=" " * len(bullet),
            break_long_words=False,
            break_on_hyphens=False,
        )
        + "\n"
    )
