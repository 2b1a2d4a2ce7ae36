# socketmaster and nothing else, to run or to take along: COPY --from=socketmaster /socketmaster /socketmaster
#
# Nothing is compiled here. The context holds the binaries by platform, as linux/amd64/socketmaster, linux/arm/v7/socketmaster
# and so on: `make image` lays out the one of this machine for the local engine, `make push-image` those of dist/ for buildx.
# There is no `# syntax=` line, since that asks a registry; and no USER: `COPY --from` would not take it along, and
# socketmaster runs as any, with or without /etc/passwd.

FROM scratch

# BuildKit knows it, the classic builder is told.
ARG TARGETPLATFORM
COPY ${TARGETPLATFORM}/socketmaster /socketmaster
ENTRYPOINT ["/socketmaster"]

ARG VERSION
ARG REVISION
ARG CREATED
ARG SOURCE
LABEL org.opencontainers.image.title="socketmaster" \
      org.opencontainers.image.description="Restarts servers without refusing a client, and is a correct PID 1" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.documentation="${SOURCE:+${SOURCE}#readme}"
