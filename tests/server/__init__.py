"""The server below the application: what gunicorn does with the project's own worker."""
