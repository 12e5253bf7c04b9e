"""How fast Gatepost is beside a bare WSGI function on the same data: `make bench`."""
