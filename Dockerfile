# All programs in one image of static binaries: no shell, no libc, not root. docs/deploy.md says how to use it.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X github.com/eventfuldb/eventful/cmd/internal/run.release=${VERSION}" -o /out/ ./cmd/...
RUN mkdir /volumes && mkdir -m 700 /volumes/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /usr/local/go/lib/time/zoneinfo.zip /zoneinfo.zip
COPY --from=build /out/ /usr/local/bin/
# A new volume takes owner and mode of the folder below it: without this one it would be root's, and nothing could be written.
COPY --from=build --chown=65532:65532 /volumes/ /
ARG VERSION=devel
LABEL org.opencontainers.image.title="EventfulDB" \
      org.opencontainers.image.source="https://github.com/eventfuldb/eventful" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}"
ENV ZONEINFO=/zoneinfo.zip PATH=/usr/local/bin EVENTFUL_DATA_DIR=/data
USER 65532:65532
WORKDIR /data
ENTRYPOINT ["eventful"]
