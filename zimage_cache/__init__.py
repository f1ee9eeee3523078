"""Z-Image-Turbo behind a two-tier result cache: the same picture is never paid twice."""

__version__ = "0.1.0"
