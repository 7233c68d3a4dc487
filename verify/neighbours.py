"""How many neighbours an identification looks at; apart, so that help can say it."""

NEIGHBOURS = 10
