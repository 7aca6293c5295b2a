"""For schemathesis: wherever the service's OpenAPI document says image, a real one (SCHEMATHESIS_HOOKS names this)."""

from pathlib import Path

import schemathesis
from hypothesis import strategies as st

IMAGES = [path.read_bytes() for path in sorted((Path(__file__).parent.parent / "docs" / "images").glob("*.png"))]

schemathesis.openapi.format("binary", st.sampled_from(IMAGES))
for media_type in ("application/octet-stream", "image/*"):
    schemathesis.openapi.media_type(media_type, st.sampled_from(IMAGES))
