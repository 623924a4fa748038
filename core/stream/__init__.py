"""One session's track: what is said when, and how it becomes packets. Pure."""
