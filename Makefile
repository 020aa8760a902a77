# Each target does its own set-up and says so. They need a Rust toolchain and a C compiler; the rest is found or
# installed by scripts/.

.PHONY: help demo test bench
.DEFAULT_GOAL := help

help:
	@echo "make demo    see rows change live: a throwaway Postgres, sample data, the gateway and a page"
	@echo "make test    every test: units, real Postgres 15 to 18, the official clients, the page in a browser"
	@echo "make bench   what the gateway costs on this machine, beside a baseline and its peers (20 minutes; 3 with QUICK=1)"

demo:
	@scripts/ensure-rust
	@scripts/ensure-postgres
	@scripts/ensure-examples
	@cargo build
	@exec cargo run --quiet -- demo

# WALCAST_POSTGRES_VERSIONS="15 17" names fewer than all that are supported.
test:
	@scripts/ensure-rust
	@scripts/ensure-postgres
	@scripts/ensure-postgres $${WALCAST_POSTGRES_VERSIONS:-15 16 17 18}
	@scripts/ensure-clients
	@scripts/ensure-examples required
	cargo test
	@scripts/test-versions

bench:
	@scripts/ensure-rust
	@scripts/ensure-postgres
	@scripts/ensure-peers
	cargo bench --bench filters --bench gateway -- $(if $(QUICK),--quick)
