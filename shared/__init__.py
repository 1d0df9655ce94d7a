"""What two functions use, or say to each other."""
