# The Tidegate agent: one static program in an otherwise empty image. Built by packaging/container/build.sh,
# whose context holds nothing but what is copied here.
#
#   docker run --rm -i -v tidegate-agent:/var/lib/tidegate-agent \
#     -v ./agent.toml:/etc/tidegate-agent/agent.toml:ro tidegate-agent pair - < token
#   docker run -d --restart unless-stopped -v tidegate-agent:/var/lib/tidegate-agent \
#     -v ./agent.toml:/etc/tidegate-agent/agent.toml:ro \
#     -v ./main.password:/etc/tidegate-agent/main.password:ro tidegate-agent
#
# The password file must be readable by user 65532 and nobody else: chown 65532, chmod 0600.
FROM scratch
# For targets with sslmode verify-* and no sslrootcert.
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY tidegate-agent /usr/bin/tidegate-agent
COPY --chown=65532:65532 state /var/lib/tidegate-agent
USER 65532:65532
VOLUME /var/lib/tidegate-agent
STOPSIGNAL SIGTERM
# That it runs and answers. Whether the relay is reached is told by `status`, and cured by no restart.
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s CMD ["/usr/bin/tidegate-agent", "status"]
ENTRYPOINT ["/usr/bin/tidegate-agent"]
CMD ["run"]
