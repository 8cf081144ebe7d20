# syntax=docker/dockerfile:1
# All programs in one image of static binaries: no shell, no libc, not root. docs/deploy.md says how to use it.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X github.com/eventfuldb/eventful/cmd/internal/run.release=${VERSION}" -o /out/ ./cmd/...

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /usr/local/go/lib/time/zoneinfo.zip /zoneinfo.zip
COPY --from=build /out/ /usr/local/bin/
ENV ZONEINFO=/zoneinfo.zip PATH=/usr/local/bin
USER 65532:65532
ENTRYPOINT ["eventful"]
