"""What must hold for any input and any order of events, tried with examples that hypothesis makes up."""
