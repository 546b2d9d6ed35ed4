# The Tidegate agent as one static program in an otherwise empty image.
#
#   docker build -f packaging/container/agent.Dockerfile -t tidegate-agent .
#   docker run --rm -i -v tidegate-agent:/var/lib/tidegate-agent \
#     -v ./agent.toml:/etc/tidegate-agent/agent.toml:ro tidegate-agent pair - < token
#   docker run -d --restart unless-stopped -v tidegate-agent:/var/lib/tidegate-agent \
#     -v ./agent.toml:/etc/tidegate-agent/agent.toml:ro \
#     -v ./main.password:/etc/tidegate-agent/main.password:ro tidegate-agent
FROM docker.io/library/rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
# Static, so that the image needs no C library; the target is named because build scripts and
# procedural macros must not be static.
RUN target="$(rustc -vV | sed -n 's/^host: //p')" \
    && RUSTFLAGS="-C target-feature=+crt-static" \
       cargo build --locked --release -p tidegate-agent --target "$target" \
    && install -D "target/$target/release/tidegate-agent" /image/usr/bin/tidegate-agent \
    && install -d -m 0700 -o 65532 -g 65532 /image/var/lib/tidegate-agent \
    && install -d /image/etc/tidegate-agent /image/tmp

FROM scratch
# For targets with sslmode verify-* and no sslrootcert.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 /image/var/lib/tidegate-agent /var/lib/tidegate-agent
COPY --from=build /image/usr /usr
COPY --from=build /image/etc/tidegate-agent /etc/tidegate-agent
USER 65532:65532
VOLUME /var/lib/tidegate-agent
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/tidegate-agent"]
CMD ["run"]
