"""The model behind a plain FastAPI handler, without any bounds: what our service is compared with.

    python -m benchmarks.service.plain h11|httptools PORT

As FastAPI's tutorial has it: a handler that is no coroutine, which FastAPI runs on one of its 40 threads.
"""

import sys
from typing import Annotated, Any

import uvicorn
from fastapi import Body, FastAPI

from cifar_edge import Classifier

app = FastAPI()
classifier = Classifier("gn-cnn")


@app.post("/v1/predict")
def predict(image: Annotated[bytes, Body(media_type="image/png")]) -> dict[str, Any]:
    """The class of the image that is the body."""
    answer = classifier.predict(image)
    return {"label": answer.label, "index": answer.index, "score": answer.score}


if __name__ == "__main__":
    uvicorn.run(app, http=sys.argv[1], port=int(sys.argv[2]), loop="asyncio", log_level="error")
