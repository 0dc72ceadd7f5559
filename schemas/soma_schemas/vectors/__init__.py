"""The vector space as a contract: what is indexed, how it becomes vectors, and how a point looks."""
