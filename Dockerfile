# syntax=docker/dockerfile:1
# Images of the server. Bundles are not in them: mount the folder, or copy it in an image of your own.
#
#   docker build --target cpu -t tts-trt:cpu .
#   docker build --target cuda --build-arg TENSORRT=tensorrt10 -t tts-trt:cuda .
#
# Nothing is written but below /tmp and to mounted volumes, so the root file system can be read-only.

# ---- what both build from

FROM python:3.12.12-slim-bookworm AS build-cpu
WORKDIR /src
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY calibration calibration
COPY scripts/nano/heldout.txt scripts/nano/heldout.txt
COPY tts_trt tts_trt
RUN python -m venv /opt/tts-trt \
    && /opt/tts-trt/bin/pip install --no-cache-dir --constraint requirements.lock ".[serve,sign]"

FROM nvidia/cuda:13.0.1-devel-ubuntu24.04 AS build-cuda
# The distribution's own patch level: the tag above fixes the release. PyCUDA is compiled.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY calibration calibration
COPY scripts/nano/heldout.txt scripts/nano/heldout.txt
COPY tts_trt tts_trt
ARG TENSORRT=tensorrt10
RUN python3 -m venv /opt/tts-trt \
    && /opt/tts-trt/bin/pip install --no-cache-dir --constraint requirements.lock ".[serve,sign,cuda,${TENSORRT}]"

# ---- what runs

FROM python:3.12.12-slim-bookworm AS cpu
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin tts \
    && install --directory --owner=tts /var/lib/tts-trt
COPY --from=build-cpu /opt/tts-trt /opt/tts-trt
ENV PATH=/opt/tts-trt/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    XDG_CACHE_HOME=/tmp/cache
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
ENTRYPOINT ["tts-trt"]
CMD ["serve", "--config", "/etc/tts-trt/serve.toml"]

FROM nvidia/cuda:13.0.1-runtime-ubuntu24.04 AS cuda
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin tts \
    && install --directory --owner=tts /var/lib/tts-trt
COPY --from=build-cuda /opt/tts-trt /opt/tts-trt
ENV PATH=/opt/tts-trt/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    XDG_CACHE_HOME=/tmp/cache
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=300s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
ENTRYPOINT ["tts-trt"]
CMD ["serve", "--config", "/etc/tts-trt/serve.toml"]
