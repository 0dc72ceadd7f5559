# Stands in for postgres:18: Debian's server, which is 17, with the first start that the image has.
FROM soma-stand-in/root
RUN usermod --uid 999 postgres \
 && groupmod --gid 999 postgres \
 && rm -rf /var/lib/postgresql \
 && install --directory --owner=postgres --group=postgres /var/lib/postgresql /run/postgresql
COPY postgres-run /usr/local/bin/docker-entrypoint.sh
ENV PATH=/usr/lib/postgresql/17/bin:$PATH PGDATA=/var/lib/postgresql/18/docker
USER postgres
VOLUME ["/var/lib/postgresql"]
STOPSIGNAL SIGINT
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
