"""Shared test settings."""

from hypothesis import Phase, settings

settings.register_profile("ci", deadline=None, derandomize=True, max_examples=60)
# For wrong versions of the code: to find one failing example is enough, do not shrink it.
settings.register_profile(
    "mutants", settings.get_profile("ci"), phases=(Phase.explicit, Phase.generate)
)
settings.load_profile("ci")
