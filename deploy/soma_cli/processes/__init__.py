"""What each long-running process is made of: settings become parts, parts are handed down."""
