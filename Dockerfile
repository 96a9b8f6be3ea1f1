# Builds the wheel with its hot modules compiled, then runs it: neither the source tree nor a
# compiler is in the final image.
FROM python:3.13-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY .ci/compile_hook.py .ci/
COPY loadtests/locustfiles loadtests/locustfiles
COPY loadtests/scenarios loadtests/scenarios
COPY shedproxy shedproxy
ENV BUILD_SHEDPROXY=compiled
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /dist . \
 && python -m venv /opt/shedproxy \
 && /opt/shedproxy/bin/pip install --no-cache-dir "$(ls /dist/shedproxy-*.whl)[otlp]"

FROM python:3.13-slim
COPY --from=build /opt/shedproxy /opt/shedproxy
# A number, so that `runAsNonRoot` can be checked without a passwd file. PYTHONOPTIMIZE stays unset:
# asserts guard the invariants of admission.
USER 10001:10001
ENV PATH=/opt/shedproxy/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SHEDPROXY_SERVER__LISTEN='["0.0.0.0:8080"]' \
    SHEDPROXY_CONTROL__LISTEN=127.0.0.1:9900
EXPOSE 8080
STOPSIGNAL SIGTERM
# The control listener is loopback inside the container, where `docker exec NAME shedproxy mode observe` gives
# orders: they are for this user and root, by a key in /dev/shm, which --read-only leaves writable. Probes of an
# orchestrator need a reachable address and then a token file: SHEDPROXY_CONTROL__LISTEN=0.0.0.0:9900,
# SHEDPROXY_CONTROL__TOKEN_FILE=...
HEALTHCHECK --interval=10s --timeout=2s --start-period=5s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9900/livez', timeout=2)"]
ENTRYPOINT ["shedproxy"]
CMD ["run"]
