# The HTTP service of cifar-edge (docs/serve.md): the base install and the extra serve, no torch.
#
#   docker build -t cifar-edge .
#   export CIFAR_EDGE_TOKEN=$(openssl rand -hex 16)
#   docker run --rm --read-only --cap-drop ALL --security-opt no-new-privileges --memory 512m \
#     -p 127.0.0.1:8000:8000 -e CIFAR_EDGE_TOKEN cifar-edge
#
# Another model: -v /path/to/export:/model:ro, and at the end of the line: serve /model --host 0.0.0.0

FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY cifar_edge cifar_edge
COPY models models
COPY export export
COPY web web
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim
COPY --from=build /wheels /wheels
# hadolint ignore=DL3013 -- the wheel just built; pyproject.toml bounds what it needs
RUN pip install --no-cache-dir "$(echo /wheels/*.whl)[serve]" && rm -r /wheels
# Nothing is written: the model comes with the wheel, and forms are kept in memory.
ENV PYTHONDONTWRITEBYTECODE=1
USER 65534:65534
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=3)"]
ENTRYPOINT ["cifar-edge"]
CMD ["serve", "--host", "0.0.0.0"]
