"""The table of hostile requests: each line is a case, sent byte by byte to a real server on either database."""
