"""The trainings that come with the package, and what they show of themselves."""
