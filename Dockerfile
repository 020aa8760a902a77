FROM rust:1-slim-bookworm AS build
WORKDIR /build
COPY . .
# The registry and target/ stay with the builder; only the program goes on.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin walcast && cp target/release/walcast /usr/local/bin/walcast

FROM debian:bookworm-slim
# For sslmode=verify-full with sslrootcert=system.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --no-create-home --shell /usr/sbin/nologin walcast
COPY --from=build /usr/local/bin/walcast /usr/local/bin/walcast
USER walcast
ENV WALCAST_CONFIG=/etc/walcast/walcast.toml
EXPOSE 4000
# bash opens the connection by itself, so that the image needs no HTTP client. The admin listener is on its usual port.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/4001 && printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3 && grep -q '^HTTP/1.. 200' <&3"]
ENTRYPOINT ["walcast"]
CMD ["run"]
