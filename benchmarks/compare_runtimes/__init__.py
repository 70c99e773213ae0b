"""Our files beside those of other runtimes and converters, in times or instructions."""
