"""Moving pictures: files, folders of frames and streams, read as frames with true timestamps."""
