# Stands in for apache/kafka: the jars of the local stack, configured by the environment.
FROM soma-stand-in/java
COPY jars /opt/kafka/libs
COPY kafka-run /etc/kafka/docker/run
RUN useradd --uid 1000 appuser \
 && mkdir -p /opt/kafka/config /var/lib/kafka/data \
 && chown -R appuser:appuser /opt/kafka/config /var/lib/kafka
USER appuser
VOLUME ["/var/lib/kafka/data"]
CMD ["/etc/kafka/docker/run"]
