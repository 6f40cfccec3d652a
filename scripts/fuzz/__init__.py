"""Coverage-guided fuzzing of everything that reads a file; see SECURITY.md for the promise that it tests."""
