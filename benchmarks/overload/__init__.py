"""What happens when more is asked of the service than it can serve: `make bench-overload`."""
