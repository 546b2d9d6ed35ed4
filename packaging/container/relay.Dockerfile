# The Tidegate relay: one static program in an otherwise empty image. Built by packaging/container/build.sh,
# whose context holds nothing but what is copied here.
#
#   docker run -d --restart unless-stopped -p 443:4433/udp -p 443:4433/tcp -p 127.0.0.1:8080:8080 \
#     -v tidegate-relay:/var/lib/tidegate-relay -e TIDEGATE_TUNNEL_NAMES=relay.example.com:443 tidegate-relay
#
# The tunnel listens on port 4433 (UDP and TCP), which needs no privilege, and HTTP on 8080 of all addresses of the container:
# publish that one to 127.0.0.1 only, or to a TLS proxy. TIDEGATE_TUNNEL_NAMES carries the port that
# agents dial. A file at /etc/tidegate-relay/relay.toml works, too; the variables override it.
FROM scratch
# For direct connections with sslmode verify-full, and for apps.
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY tidegate-relay /usr/bin/tidegate-relay
COPY --chown=65532:65532 state /var/lib/tidegate-relay
USER 65532:65532
VOLUME /var/lib/tidegate-relay
ENV TIDEGATE_DATA_DIR=/var/lib/tidegate-relay \
    TIDEGATE_TUNNEL_LISTEN=0.0.0.0:4433 \
    TIDEGATE_HTTP_LISTEN=0.0.0.0:8080
STOPSIGNAL SIGTERM
# That its API answers to the operator's token.
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s CMD ["/usr/bin/tidegate-relay", "egress"]
ENTRYPOINT ["/usr/bin/tidegate-relay"]
CMD ["serve"]
