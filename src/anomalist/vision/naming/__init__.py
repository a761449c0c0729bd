"""What tracked objects are: by example pictures, or by an object detector."""
