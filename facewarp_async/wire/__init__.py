"""The protocol as pure functions: requests are built, answers are read, and no socket, clock or loop is known here."""
