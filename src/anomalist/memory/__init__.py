"""What is remembered beyond the normals: cases and feedback, rules, and scenes, searched by embedding."""
