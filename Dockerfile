# syntax=docker/dockerfile:1
# The image: one static binary and the certificates of public authorities, nothing else. It runs as a user without privileges, needs no
# writable file system and has no shell.
#
#   docker buildx build --platform linux/amd64,linux/arm64 -t assist-operator:dev .

# Compiles on the machine's own architecture for that of the image, so that no emulator is needed.
FROM --platform=$BUILDPLATFORM docker.io/library/rust:1.95-slim-bookworm AS build
ARG TARGETARCH
RUN dpkg --add-architecture "$TARGETARCH" \
 && apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates clang llvm "musl-dev:$TARGETARCH" \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
RUN case "$TARGETARCH" in \
      amd64) echo x86_64-unknown-linux-musl ;; \
      arm64) echo aarch64-unknown-linux-musl ;; \
      *) echo "the image is built for amd64 and arm64, not for '$TARGETARCH'" >&2; exit 1 ;; \
    esac > /target \
 && rustup target add "$(cat /target)"
COPY Cargo.toml Cargo.lock ./
COPY src ./src
# The benchmark is named in Cargo.toml; it is not built.
COPY benches ./benches
# C of the TLS library is compiled by clang for any target, with the headers of its musl; rust-lld links it with the musl that Rust brings.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,id=target-$TARGETARCH \
    target=$(cat /target) && name=$(echo "$target" | tr a-z- A-Z_) \
 && lower=$(echo "$target" | tr - _) && export "CC_$lower=clang" "AR_$lower=llvm-ar" \
           "CFLAGS_$lower=-nostdlibinc -isystem /usr/include/${target%%-*}-linux-musl" \
           "CARGO_TARGET_${name}_LINKER=rust-lld" \
 && cargo build --locked --profile dist --target "$target" --bin assist-operator \
 && cp "target/$target/dist/assist-operator" /assist-operator

# For the jobs of a pipeline, which need a shell and a user that may write: docker buildx build --target cli -t assist-operator-cli:dev .
FROM docker.io/library/alpine:3.22 AS cli
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chmod=0555 /assist-operator /usr/local/bin/assist-operator

FROM scratch
LABEL org.opencontainers.image.title="Assist Operator" \
      org.opencontainers.image.description="GitOps for Genesys Cloud agent assist" \
      org.opencontainers.image.licenses="Apache-2.0"
# Who the operator trusts where an organisation has no caBundle. SSL_CERT_FILE names another file.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chmod=0555 /assist-operator /assist-operator
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/assist-operator"]
CMD ["run"]
