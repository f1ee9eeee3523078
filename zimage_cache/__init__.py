"""Z-Image-Turbo behind a two-tier result cache: a picture that was drawn before is not drawn again."""

__version__ = "0.1.0"
