"""Media input: still pictures, video files, frame folders and network streams."""
