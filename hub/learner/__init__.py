"""From Events to Policies and Actions; torch and Stable-Baselines3 stay in this room."""
