"""Pictures of the explorer's screens: what they say and in which styles, kept as text."""
