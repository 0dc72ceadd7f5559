"""What people type: a package, so that its stack ends with its last test."""
