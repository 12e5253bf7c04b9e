"""Tables of hostile requests: each row is a test case that is sent to a real server on each database."""
