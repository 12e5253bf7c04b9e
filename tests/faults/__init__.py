"""What happens while a service that Gatepost needs is down, stuck or gone."""
