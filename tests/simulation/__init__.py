"""The flows under a seeded scheduler: who acts when, what fails, what comes late, who vanishes."""
