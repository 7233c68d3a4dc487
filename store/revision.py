"""Which schema this program wants; see `migrations`."""

REVISION = "0003"  # the schema this code wants; revisions are four digits, in order
