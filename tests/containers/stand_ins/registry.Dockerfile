# Stands in for apicurio/apicurio-registry: what the local stack runs, without its account of classes.
FROM soma-stand-in/java
COPY registry /deployments
USER 185
WORKDIR /deployments
CMD ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-Dquarkus.http.host=0.0.0.0", "-jar", "quarkus-run.jar"]
