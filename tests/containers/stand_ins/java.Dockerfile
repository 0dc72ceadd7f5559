# What the stand-ins of Kafka and of the registry run on: the runtime of the local stack.
FROM soma-stand-in/root
COPY java-runtime /opt/java
ENV PATH=/opt/java/bin:$PATH
