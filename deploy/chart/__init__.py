"""What the Helm chart takes from the code: `python -m chart` writes its schema, topics and processes."""
