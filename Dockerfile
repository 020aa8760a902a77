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
# Asks /readyz at the configuration's server.admin: the image needs neither a shell nor an HTTP client.
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s CMD ["walcast", "health"]
ENTRYPOINT ["walcast"]
CMD ["run"]
