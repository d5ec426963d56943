# An image that runs a mounted program:  docker build -t heapscope . && docker run --rm -v "$PWD/prog:/prog:ro" heapscope run /prog
# Each step is a verb of scripts/image.sh, so that `make image-check` can take the same steps without a daemon.

FROM debian:12-slim AS build
COPY . /src
RUN sh /src/scripts/image.sh build

FROM debian:12-slim
COPY scripts/image.sh /tmp/image.sh
RUN sh /tmp/image.sh base && rm /tmp/image.sh
COPY --from=build /opt/heapscope /opt/heapscope
ENTRYPOINT ["/opt/heapscope/bin/heapscope"]
CMD ["--help"]
