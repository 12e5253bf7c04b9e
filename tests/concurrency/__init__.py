"""What only several processes at once can show: races against a real gunicorn."""
