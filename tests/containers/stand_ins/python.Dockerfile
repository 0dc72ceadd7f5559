# Stands in for python:3.13-slim: Debian's Python, and what this machine trusts.
FROM soma-stand-in/root
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
RUN ln -s python3 /usr/bin/python
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_DEFAULT_TIMEOUT=180
