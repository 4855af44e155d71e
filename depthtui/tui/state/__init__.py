"""What the explorer knows, without a screen: no Textual in here."""
