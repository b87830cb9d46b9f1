"""What an agent tells its namesakes on other hubs, and what it takes from them."""
