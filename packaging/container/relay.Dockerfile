# The Tidegate relay as one static program in an otherwise empty image.
#
#   docker build -f packaging/container/relay.Dockerfile -t tidegate-relay .
#   docker run -d --restart unless-stopped -p 443:4433/udp -p 443:4433/tcp \
#     -p 127.0.0.1:8080:8080 -v tidegate-relay:/var/lib/tidegate-relay \
#     -v ./relay.toml:/etc/tidegate-relay/relay.toml:ro tidegate-relay
#
# In the container the tunnel listens on 0.0.0.0:4433, which needs no privilege, and HTTP on
# 0.0.0.0:8080; `names` in relay.toml carries the port that agents dial, here 443.
FROM docker.io/library/rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
# Static, so that the image needs no C library; the target is named because build scripts and
# procedural macros must not be static.
RUN target="$(rustc -vV | sed -n 's/^host: //p')" \
    && RUSTFLAGS="-C target-feature=+crt-static" \
       cargo build --locked --release -p tidegate-relay --target "$target" \
    && install -D "target/$target/release/tidegate-relay" /image/usr/bin/tidegate-relay \
    && install -d -m 0700 -o 65532 -g 65532 /image/var/lib/tidegate-relay \
    && install -d /image/etc/tidegate-relay

FROM scratch
# For direct connections with sslmode verify-full.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 /image/var/lib/tidegate-relay /var/lib/tidegate-relay
COPY --from=build /image/usr /usr
COPY --from=build /image/etc/tidegate-relay /etc/tidegate-relay
USER 65532:65532
VOLUME /var/lib/tidegate-relay
ENV TIDEGATE_DATA_DIR=/var/lib/tidegate-relay
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/tidegate-relay"]
CMD ["serve", "--config", "/etc/tidegate-relay/relay.toml"]
