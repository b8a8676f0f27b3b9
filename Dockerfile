# The service as an image. It is closed: without a key it does not listen beyond the container (docs/deployment.md).
#   docker build -t pullback .
#   docker build -t pullback:cuda --build-arg FLAVOUR=cuda --build-arg TORCH_INDEX_URL=... .
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS wheels
WORKDIR /source
COPY constraints.txt ./
COPY schemas schemas
COPY service service
RUN --mount=type=cache,target=/root/.cache/pip \
    PIP_CONSTRAINT=/source/constraints.txt python -m pip wheel --no-deps --wheel-dir /wheels ./schemas ./service

# What the wheels need, from their manifests alone: a change of our code leaves this layer as it is.
FROM python:${PYTHON_VERSION}-slim AS dependencies
ARG TORCH_INDEX_URL=""
WORKDIR /build
COPY constraints.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /opt/pullback && \
    python -m pip --python /opt/pullback/bin/python install --no-deps \
        ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} "$(grep '^torch==' constraints.txt)"
COPY schemas/pyproject.toml schemas/
COPY service/pyproject.toml service/
COPY deploy/requirements.py deploy/
RUN --mount=type=cache,target=/root/.cache/pip \
    python deploy/requirements.py */pyproject.toml >requirements.txt && \
    python -m pip --python /opt/pullback/bin/python install --constraint constraints.txt --requirement requirements.txt
# Headers and tests, which nothing reads at run time. torch_shm_manager stays: torch looks for it.
RUN cd /opt/pullback/lib/python3*/site-packages && \
    rm -rf torch/include torch/test torch/share torch/bin/test_* torch/bin/*Test torch/bin/protoc* && \
    find . -name '*.a' -delete && \
    find numpy sympy networkx mpmath -type d -name tests -prune -exec rm -rf {} +
ARG FLAVOUR=cpu
COPY deploy/check_flavour.py deploy/
RUN /opt/pullback/bin/python -B deploy/check_flavour.py "$FLAVOUR"

FROM python:${PYTHON_VERSION}-slim
LABEL org.opencontainers.image.title="Pullback" \
      org.opencontainers.image.description="A REST service for exact derivatives" \
      org.opencontainers.image.version="0.1.0"
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin pullback
COPY --from=dependencies /opt/pullback /opt/pullback
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    python -m pip --python /opt/pullback/bin/python install --no-cache-dir --no-deps /wheels/*.whl && \
    python -m pip --python /opt/pullback/bin/python check && \
    rm -rf "$(python -c 'import pip; print(*pip.__path__)')" /usr/local/bin/pip* /usr/bin/pip*
ENV PATH=/opt/pullback/bin:$PATH \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PULLBACK_HOST=0.0.0.0 \
    PULLBACK_LOG_FORMAT=json \
    PULLBACK_ACCESS_LOG=all
WORKDIR /opt/pullback
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-m", "pullback_service.healthcheck", "ready"]
CMD ["python", "-m", "pullback_service"]
