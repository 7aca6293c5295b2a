"""What differs between two recordings of one checkout, masked: times, places, versions, the machine."""

import json
import platform
import re
from pathlib import Path
from typing import Any

_TIME = r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d([.,]\d+)?(\+00:00|Z)?"
_NUMBER = r"-?\d[\d,]*(\.\d+)?(e[+-]?\d+)?"
_LIBRARIES = (
    "torch|torchvision|onnx|onnxruntime|onnxscript|numpy|Pillow|pillow|click|platformdirs|safetensors|matplotlib|rich"
    "|tomli-w|python-multipart|starlette|uvicorn|pyarrow|ray|tensorboard|ipykernel|nbclient|furo|myst-nb|sphinx"
    "|sphinx-click|ai-edge-litert|fastapi|httptools|openvino|Python|h11"
)
_RULES = [
    (re.compile(_TIME), "<time>"),
    (re.compile(r"\b20\d{6}-\d{6}\b"), "<time>"),
    (re.compile(r'("\w*(seconds|per_second|latency|memory_bytes)\w*"): [\d.e+-]+'), r"\1: <number>"),
    (re.compile(rf" *(?<![\w.]){_NUMBER} (s|ms|us|min|h)(?![\w/])"), " <duration>"),
    (re.compile(rf" *(?<![\w.]){_NUMBER}/s\b"), " <rate>"),
    (re.compile(r" *(?<![\w.])\d+(s|m|min|h|d)$", re.MULTILINE), " <duration>"),
    (re.compile(rf"{_NUMBER} times the latency"), "<number> times the latency"),
    (re.compile(rf'\b({_LIBRARIES})("?:? "?)\d+(\.\d+)+[\w.+]*'), r"\1\2<version>"),
    (re.compile(r"(127\.0\.0\.1:)\d{4,5}\b"), r"\1<port>"),
]


def masked(text: str, area: Path) -> str:
    """``text`` without what another recording has otherwise; ``area`` is the folder of this one."""
    text = text.replace(str(area), "<area>").replace(str(Path.home()), "<home>")
    for name in (_processor(), platform.node()):
        if name:
            text = text.replace(name, "<machine>")
    for pattern, instead in _RULES:
        text = pattern.sub(instead, text)
    return text


def masked_report(path: Path, area: Path) -> str:
    """A report.json, masked; its choice of a file is left out, since it depends on the latencies."""
    return masked(json.dumps(_without_timings(json.loads(path.read_bytes())), indent=2) + "\n", area)


def _without_timings(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: "<masked>" if key in _TIMED else _without_timings(item) for key, item in value.items()}
    return [_without_timings(item) for item in value] if isinstance(value, list) else value


_TIMED = {"timing", "recommended", "recommendation", "reason", "machine", "deploy"}


def _processor() -> str:
    cpus = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", cpus.read_text(), re.MULTILINE) if cpus.exists() else None
    return found[1] if found else ""
