"""The section of an export: its files, their gates, and what they cost by target."""

from cifar_edge.report import figures
from cifar_edge.report.exported import Exported, Gate, Graph, OtherTarget
from cifar_edge.report.html import Html, code, element, join, missing, table
from cifar_edge.report.subject import Subject


def devices(subject: Subject) -> Html:
    """Files, gates, size, latency and RAM of the export of ``subject``, or the command that makes one."""
    exported = subject.exported
    if exported is None:
        return missing("It is not exported yet:", f"cifar-edge export {subject.argument} --quantize")
    advice = element("p", "Deploy ", element("strong", exported.deploy), f" on a machine like that: {exported.reason}.")
    files, gates = _files(subject.name, exported), _gate_lines(subject.argument, exported)
    return join([advice, files, *gates, _by_target(subject, exported), _how(exported)])


def _files(name: str, exported: Exported) -> Html:
    heads = ["graph", "size", "accuracy", "95 % interval", "same class", "p50", "p99", "throughput", "gate"]
    caption = f"Files of the export of {name}, compared with the network as trained"
    return table(caption, heads, map(_file, exported.graphs), class_="numbers")


def _file(graph: Graph) -> list[str]:
    name = element("th", graph.name, element("small", code(graph.file) if graph.file else "only measured"), scope="row")
    return [
        name,
        figures.kilobytes(graph.size),
        figures.percent(graph.accuracy.value),
        figures.interval(graph.accuracy),
        figures.percent(graph.agreement),
        figures.latency(graph.speed.p50_seconds),
        figures.latency(graph.speed.p99_seconds),
        figures.rate(graph.speed.images_per_second),
        graph.verdict,
    ]


def _gate_lines(argument: str, exported: Exported) -> list[Html]:
    """In words what the gates of int8 found, and what its threshold does."""
    int8 = exported.int8
    if int8 is None:
        return [missing("It has no int8:", f"cifar-edge export {argument} --quantize")]
    lines: list[str] = [
        f"int8 against the network as trained: {_change(int8)}, where {exported.max_drop:g} points may be lost."
    ]
    if int8.rounding is not None:
        drop = int8.rounding
        lines.append(
            f"Rounding alone: {figures.points(-drop.value)} points ({figures.points(-drop.high)} to "
            f"{figures.points(-drop.low)}) on {drop.images:,} images."
        )
    if int8.verdict == "undecided":
        lines.append(
            f"Undecided: so few images cannot prove that int8 loses at most {exported.max_drop:g} points, nor do they "
            "prove that it loses more."
        )
    for graph in exported.graphs:
        if graph.not_sure is not None:
            threshold, kept = graph.not_sure
            option = code(f"cifar-edge export {argument} --quantize --keep SHARE")
            said = (
                f"{graph.name} says 'unknown' where it is not sure, that is where its largest logit is below "
                f"{threshold:.3g}: it refuses {figures.percent(1 - kept, 1)} of the test images. "
            )
            lines.append(join([said, option, " sets another threshold."]))
    return [element("ul", *(element("li", line) for line in lines))]


def _change(graph: Graph) -> str:
    drop = graph.drop
    return (
        f"{figures.points(-drop.value)} points of accuracy ({figures.points(-drop.high)} to "
        f"{figures.points(-drop.low)}) on {drop.images:,} test images"
    )


def _by_target(subject: Subject, exported: Exported) -> Html:
    """RAM, flash and latency by target. Those of C are known from the int8 file, even if C is not written."""
    rows: list[list[str]] = []
    int8 = exported.int8
    if int8 is not None:
        speed = figures.latency(int8.speed.p50_seconds)
        rows.append(
            ["onnx", code(int8.file or "int8"), figures.NONE, figures.kilobytes(int8.size), speed, int8.verdict]
        )
    rows += [_target(each) for each in exported.targets]
    if subject.ram is not None and all(each.name != "c" for each in exported.targets):
        how = join(["not written; ", code("--target c"), " writes it"])
        rows.append(
            ["c", how, figures.kilobytes(subject.ram), figures.kilobytes(subject.flash), figures.NONE, figures.NONE]
        )
    if not rows:
        return Html("")
    heads = ["target", "files", "RAM for an image", "size, or flash", "latency p50", "gate"]
    caption = f"What {subject.name} costs in int8, by target"
    return table(caption, heads, rows, class_="numbers words-second words-last")


def _target(target: OtherTarget) -> list[str]:
    files = join([code(file) for file in target.files], ", ")
    speed = figures.latency(target.speed.p50_seconds) if target.speed is not None else figures.NONE
    gates = join([element("div", _outcome(gate)) for gate in target.gates])
    return [target.name, files, figures.kilobytes(target.ram), figures.kilobytes(target.flash), speed, gates]


def _outcome(gate: Gate) -> str:
    if gate.agreement is None:
        return f"{gate.runner}: not compared, {gate.not_compared}"
    if gate.exact:
        return f"{gate.runner}: bit for bit on {gate.images:,} images"
    return f"{gate.runner}: same class for {figures.percent(gate.agreement)} of {gate.images:,} images"


def _how(exported: Exported) -> Html:
    text = (
        f"Accuracy on test images of {exported.data}. Latency of one image and throughput at a large batch: one thread "
        f"of {exported.machine}, without decoding. RAM and flash of C are of a Cortex-M: the state of an image, and "
        f"weights, tables and code. Exported {exported.created[:10]}."
    )
    return element("p", text, class_="quiet")
