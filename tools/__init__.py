"""Programs that the Makefile runs. The service imports none of them."""
