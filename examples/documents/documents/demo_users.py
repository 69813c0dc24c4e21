"""Who may log in to the demo, and how."""

DEMO_USERS = {"leela": ("Turanga", "Leela"), "fry": ("Philip J.", "Fry")}
PASSWORD = "planetexpress"
