"""The sections of a model card that tell what lies in the released folders."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, stdev

from benchmarks.cards.facts import Released
from benchmarks.cards.markdown import block, paragraph, table
from benchmarks.cards.trainings import FIRST, Training
from cifar_edge.measure.timing import LARGE_BATCH
from cifar_edge.models.summary import summarize
from cifar_edge.runs.recipe import Recipe
from cifar_edge.runs.run import RECIPE

TEACHER = "teacher.toml"
LATER = ("second.toml", "third.toml", "fourth.toml")
"""What the folded network was fine-tuned on by before `RECIPE`, where that were other recipes."""


def layers(model: Released) -> str:
    """The layers of the network as trained and, if there is one, of the folded one."""
    text = paragraph(f"As trained: `cifar-edge summary {model.name}`; ReLU and the like are numbered, not listed.")
    text += "\n" + block(summarize(model.trained.network).to_table())
    if model.trained.folded is not None:
        text += "\nWith its norms folded, as in int8:\n\n" + block(summarize(model.trained.folded).to_table())
    return text


def latency(model: Released) -> str:
    """What the export's report says of the time each form takes."""
    report = model.report
    reference = report["rows"][0]["timing"]["p50_seconds"]
    rows = []
    for row in report["rows"]:
        timing = row["timing"]
        times = [f"{timing[key] * 1e6:.1f} us" for key in ("p50_seconds", "p99_seconds")]
        ratio = f"{timing['p50_seconds'] / reference:.2f}"
        rows.append([row["name"], *times, ratio, f"{timing['images_per_second']:,.0f}/s"])
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    text = (
        f"One image, one thread, all in turns within one run, on {report['machine']}; {versions}: "
        f"`cifar-edge export {model.name} --quantize`. Its report is "
        f"[export/{model.name}/report.md](../../export/{model.name}/report.md). Deploy {report['deploy']}: "
        f"{report['reason']}. Other machines take other times; the ratios are what to go by."
    )
    heads = ["", "p50>", "p99>", "ratio of p50>", f"batch {LARGE_BATCH}>"]
    return f"{table(heads, rows)}\n{paragraph(text)}"


def training(model: Released) -> str:
    """How it was trained, and how to do that again."""
    last, summary = model.recipe, model.summary
    named, recipe = _begun_by(model)
    told = f"{recipe.epochs} epochs by [{named}]({named}), seed {recipe.seed}, on {summary.train_images:,} images"
    if recipe.augmented_copies:
        told += f" in {recipe.augmented_copies} augmented copies"
    if recipe.muon_learning_rate:
        told += f", its convolutions by Muon ({recipe.muon_learning_rate:g})"
    if recipe.mixup:
        told += f", with mixup ({recipe.mixup:g})"
    if recipe.teachers:
        of = "teacher" if len(recipe.teachers) == 1 else f"{len(recipe.teachers)} teachers"
        told += (
            f", distilled from the {of} of [{TEACHER}]({TEACHER}) (temperature {recipe.temperature:g}, weight "
            f"{recipe.distillation_weight:g})"
        )
    turns, folded = _turns(model), "; then its norms were folded, and the batch-norm form trained"
    if recipe.fold.epochs:
        told += f"{folded} alike for {recipe.fold.epochs} epochs"
    for index, (file, turn) in enumerate(turns):
        is_first = index == 0 and not recipe.fold.epochs
        told += f"{folded} for {turn.fold.epochs} epochs" if is_first else f", and for {turn.fold.epochs} more"
        told += f" by [{file}]({file})"
        number = turn.augmented_copies
        told += f" in {number} {'copy' if number == 1 else 'copies'}" if number != recipe.augmented_copies else ""
        told += f", {turn.mixtures:.0%} of the images mixed with another one" if turn.mixtures else ""
    if turns:
        copies = "copy is" if last.augmented_copies == 1 else "copies are"
        ways = ["drawn with another copy_seed"] if last.copy_seed != recipe.copy_seed else []
        if last.copy_shift:
            ways.append(f"shifted anew by up to {last.copy_shift} pixel{'s' * (last.copy_shift > 1)} in each epoch")
        told += f"; the last {copies} {' and '.join(ways)}" if ways else ""
    on_cpu = summary.device == "cpu"
    processor = f"a CPU (threads: {summary.threads})" if on_cpu else f"one {summary.device}"
    torch_version = (summary.versions or {})["torch"]
    told += f". It took {_duration(summary.seconds or 0.0)} on {processor} with PyTorch {torch_version}."
    for each in model.trainings:
        if each.model != model.name:
            told += (
                f" The teacher, {each.model}, is right on {each.accuracy['fp32']:.2%} of the {each.images:,} training "
                "images that were held out from it."
            )
    told = " ".join([told, *(summary.notes or ())])
    commands = [f"cifar-edge train --recipe models/{model.name}/{RECIPE}"]
    if turns:
        commands = [
            f"cifar-edge train --recipe models/{model.name}/{FIRST} --name again",
            *_fold_again(model.name, recipe, turns),
        ]
    if on_cpu and summary.threads == 1:
        commands = [f"OMP_NUM_THREADS=1 {line}" if line.startswith("cifar-edge") else line for line in commands]
    for index, teacher in reversed(list(enumerate(recipe.teachers))):
        seed = f" --seed {index}" if index else ""
        commands.insert(0, f"cifar-edge train --recipe models/{model.name}/{TEACHER}{seed} --name {Path(teacher).name}")
    again = "To do it again (on a CPU with as many threads, on the same kind of machine, bit for bit):"
    if on_cpu and recipe.teachers:
        again = "To do it again (by the same teacher, threads and kind of machine bit for bit):"
    if not on_cpu:
        again = "To do it again (a GPU gives other weights each time, as another seed would):"
    released = [
        f"cifar-edge export {model.name} --quantize --out export/{model.name}",
        f"python -m benchmarks.cards {model.name}",
    ]
    return "\n".join(
        [
            paragraph(told),
            paragraph(again),
            block("\n".join(commands)),
            paragraph("From the released weights to the files and this card:"),
            block("\n".join(released)),
        ]
    )


def _begun_by(model: Released) -> tuple[str, Recipe]:
    """The recipe that its training began by, and the name of its file."""
    first = model.folder / FIRST
    return (FIRST, Recipe.from_file(first)) if first.exists() else (RECIPE, model.recipe)


def _turns(model: Released) -> list[tuple[str, Recipe]]:
    """The recipe of each time that its folded network was fine-tuned on, with the name of its file."""
    if _begun_by(model)[0] == RECIPE:
        return []
    earlier = [name for name in LATER if (model.folder / name).exists()]
    return [*((name, Recipe.from_file(model.folder / name)) for name in earlier), (RECIPE, model.recipe)]


def _fold_again(name: str, begun_by: Recipe, turns: Sequence[tuple[str, Recipe]]) -> Iterator[str]:
    """The commands that fine-tune the run ``again``, trained by ``begun_by``, by the recipes of the model ``name``."""
    for index, (file, turn) in enumerate(turns):
        has_folded = index > 0 or begun_by.fold.epochs > 0
        yield f"cp models/{name}/{file} runs/again/{RECIPE}"
        yield f"cifar-edge fold runs/again {'--continue ' if has_folded else ''}--epochs {turn.fold.epochs}"


def seeds(model: Released) -> str:
    """What other seeds of the same recipe give, and the twin with held-out images."""
    alike = [each for each in model.trainings if each.model == model.name and not each.holdout]
    twin = f" {_twin(model.twin)}" if model.twin else ""
    seed = _begun_by(model)[1].seed
    if len(alike) < 2:
        return paragraph(f"Trained once, with seed {seed}: how much of it is chance is not known.{twin}")
    forms = list(alike[0].accuracy)
    columns = [[each.accuracy[form] for each in alike] for form in forms]
    rows = [[f"{each.seed}", *(f"{each.accuracy[form]:.2%}" for form in forms)] for each in alike]
    rows.append(["mean", *(f"{mean(column):.2%}" for column in columns)])
    rows.append(["standard deviation", *(f"{100 * stdev(column):.2f} points" for column in columns)])
    text = (
        f"On the {alike[0].images:,} test images. Released is seed {seed}, whatever the others reach."
        f"{twin} Commands: [benchmarks/cards/trainings.py](../../benchmarks/cards/trainings.py)."
    )
    return f"{table(['seed', *(f'{form}>' for form in forms)], rows)}\n{paragraph(text)}"


def _twin(twin: Training) -> str:
    reached = ", ".join(f"{form} {value:.2%}" for form, value in twin.accuracy.items())
    return f"A twin, seed {twin.seed} with {twin.holdout:,} training images held out, reaches on these: {reached}."


def files(paths: Sequence[Path]) -> str:
    """Size and SHA-256 of each file, named from the folder that holds models/ and export/."""
    rows = []
    for path in paths:
        content = path.read_bytes()
        name = path.relative_to(path.parents[2]).as_posix()
        rows.append([f"`{name}`", f"{len(content):,}", f"`{hashlib.sha256(content).hexdigest()}`"])
    return table(["", "bytes>", "SHA-256"], rows) + "\n" + paragraph("Commands: `wc -c` and `sha256sum`.")


def licence(model: Released) -> str:
    """Where the data came from, and what may be done with the weights."""
    return "\n".join(
        [
            paragraph("The weights, and the files made of them, are under [Apache-2.0](../../LICENSE)."),
            paragraph(
                "They come from CIFAR-10 (Alex Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, "
                "technical report, University of Toronto, 2009; https://www.cs.toronto.edu/~kriz/cifar.html), here "
                f"from: {model.trained.data.source}, verified by the SHA-256 of its pixels. Its authors ask for "
                "that citation and give no licence text; the images are theirs or their photographers'."
            ),
        ]
    )


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"
