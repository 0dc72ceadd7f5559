# Stands in for qdrant/qdrant, which cannot be made from packages: the embedded engine behind the gRPC interface of
# tests/qdrant_server.py, and an answer to the health check.
FROM somafractalmemory:local
USER root
COPY qdrant_server.py serve_qdrant.py qdrant-run /qdrant/
RUN useradd --uid 1000 qdrant \
 && mv /qdrant/qdrant-run /qdrant/entrypoint.sh \
 && install --directory --owner=qdrant --group=qdrant /qdrant/storage
USER qdrant
WORKDIR /qdrant
ENTRYPOINT []
CMD ["./entrypoint.sh"]
