"""The screens of the terminal: the main screen and the dialogs over it."""
