"""What puts right or proves what others have left."""
