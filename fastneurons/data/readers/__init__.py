"""From bytes to records: files and the Hub, packings, and one reader for each format."""
