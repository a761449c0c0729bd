"""Reports from stored records of pictures and clips, in HTML, Markdown, JSON, CSV and COCO.

No model and no detector is needed."""
