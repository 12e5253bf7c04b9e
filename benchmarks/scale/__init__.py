"""Whether lists, sign-in and refreshing take the same time however many rows there are: `make bench-scale`."""
