"""A seeded random walk over the JetStream API; see README.md of the folder above."""
