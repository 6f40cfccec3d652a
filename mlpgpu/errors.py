"""The one error that a user can cause."""


class InputError(ValueError):
    """A setting, file, device or array from outside that cannot be used.

    The message is one line that says what was given, what is allowed and what to do; the command
    line prints it and exits with code 2.
    """
