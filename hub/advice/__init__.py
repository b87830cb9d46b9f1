"""What one replica tells another."""
