"""The explorer's state, without a screen: no Textual in here."""
