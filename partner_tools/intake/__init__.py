"""From bytes to devices that remember their file and line, and every problem on the way."""
