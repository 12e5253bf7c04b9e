"""What every route shares: endpoints, access policies, request bodies, errors and responses."""
