# Stands in for prom/prometheus: Debian's.
FROM soma-stand-in/root
COPY wget /usr/local/bin/wget
RUN install --directory --owner=nobody --group=nogroup /prometheus
USER nobody
VOLUME ["/prometheus"]
ENTRYPOINT ["prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
