# fomm in a container, for a CPU or for CUDA; docs/install.md says how to build and start it.
FROM python:3.11-slim AS build

# "cpu", or the CUDA that PyTorch was built for, such as "cu130"
ARG TORCH=cpu

WORKDIR /src
COPY constraints.txt ./
RUN pip install --no-cache-dir -c constraints.txt uv && uv venv /venv
COPY pyproject.toml setup.cfg README.md LICENSE THIRD_PARTY.md ./
COPY fomm fomm
COPY configs configs
COPY checkpoints checkpoints
COPY examples examples
RUN uv pip install --no-cache --python /venv/bin/python --torch-backend "$TORCH" -c constraints.txt '.[web,heic]'

FROM python:3.11-slim
COPY --from=build /venv /venv
RUN useradd --create-home --uid 1000 fomm
# The second: with docker run --user, nobody has a home to keep compiled code in.
ENV PATH=/venv/bin:$PATH NUMBA_CACHE_DIR=/tmp/numba
USER 1000
WORKDIR /data
# of the page: fomm web --host 0.0.0.0
EXPOSE 7860
ENTRYPOINT ["fomm"]
CMD ["--help"]
